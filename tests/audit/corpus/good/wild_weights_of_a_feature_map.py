"""Class activation maps between the steps of training, by a hook inside a forward hook: readings.

Thread: jacobgil/pytorch-grad-cam (shape of its hooks, written anew)
"""

import torch
from torch import nn
from torch.nn import functional as F

net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)


def heat_map(x: torch.Tensor, label: int) -> torch.Tensor:
    activations, gradients = [], []

    def keep(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        activations.append(output.detach())
        output.register_hook(lambda gradient: gradients.append(gradient.detach()))

    handle = net[2].register_forward_hook(keep)
    net.zero_grad()
    net(x)[:, label].sum().backward(retain_graph=True)
    handle.remove()
    weights = gradients[0].mean((2, 3), keepdim=True)
    return (weights * activations[0]).sum(1).clamp_min(0)


for _ in range(4):
    x, y = torch.randn(8, 3, 12, 12), torch.randint(5, (8,))
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    net.eval()
    print(float(heat_map(x[:1], 2).max()))
    net.train()
