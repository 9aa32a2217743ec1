"""A penalty on the gradient of features that a module's hook catches; the features themselves are gone when their gradient comes.

Thread: jacobgil/pytorch-grad-cam (shape of its hooks, with the mistake planted)
"""

import torch
from torch import nn
from torch.nn import functional as F

net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
caught: list[torch.Tensor] = []


def catch(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
    output.register_hook(lambda gradient: caught.append(gradient))


net[2].register_forward_hook(catch)
for _ in range(4):
    x, y = torch.randn(16, 6), torch.randint(3, (16,))
    caught.clear()
    output = net(x)
    output.gather(1, y[:, None]).sum().backward(retain_graph=True)  # expect: IG101 error
    features = caught[0]
    loss = F.cross_entropy(output, y) + features.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
