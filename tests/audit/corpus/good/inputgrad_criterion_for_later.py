"""A criterion for the second phase of training, in a function that the first steps do not reach; and one that an engine of its own evaluates for the log.

Thread: this library, an issue on the audit of its own users
"""

import torch
from torch import nn

import inputgrad as ig


def fit(net: nn.Module, criterion: nn.Module | None, steps: int) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    for _ in range(steps):
        x, y = torch.randn(8, 4), torch.randn(8, 1)
        loss = nn.functional.mse_loss(net(x), y) if criterion is None else criterion(net, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


network = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 1))
fine = nn.MSELoss() + 0.1 * ig.GradientNorm(of="output")
fit(network, None, 5)
fit(network, fine, 5)
