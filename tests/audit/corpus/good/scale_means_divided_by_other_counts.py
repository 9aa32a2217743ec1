"""Means that are divided by numbers which happen to be as large as the batch: steps of accumulation, layers, passes; and a whole loss that is divided.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

ACCUMULATED = 4


def penalty(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(model(x).logsumexp(1).sum(), x, create_graph=True)
    return g.norm(dim=1).square().mean()


torch.manual_seed(0)
layers = [nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 5)]
model = nn.Sequential(*layers)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    optimizer.zero_grad()
    for _ in range(ACCUMULATED):
        x, y = torch.randn(4, 10), torch.randint(5, (4,))
        batch_size = len(x)
        (0.1 * penalty(model, x) / ACCUMULATED).backward()
        (F.cross_entropy(model(x), y, reduction="sum") / batch_size / ACCUMULATED).backward()
    x, y = torch.randn(5, 10), torch.randint(5, (5,))
    batch_size = len(x)
    ((F.cross_entropy(model(x), y) + penalty(model, x)) / batch_size).backward()
    (penalty(model, x) / len(layers)).backward()
    (penalty(model, x) * batch_size / batch_size).backward()
    optimizer.step()
