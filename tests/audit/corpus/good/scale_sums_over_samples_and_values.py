"""Penalties that are divided by as many samples and as many values as there are, where both happen to be the same number; and divisions that are undone.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

WEIGHT, ACCUMULATED = 0.125, 8


def penalties(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([kind(gradient(model, x), x) for kind in KINDS]).sum()


def gradient(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(model(x).logsumexp(1).sum(), x, create_graph=True)[0]


def by_both(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return g.square().sum() / len(x) / x.shape[1]


def by_their_product(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    n, d = x.shape
    return g.square().sum() / (n * d)


def values_first(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    total = g.square().sum() / x.size(1)
    return total / x.size(0)


def by_all_values(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return g.square().sum() / g.numel()


def mean_of_values(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return g.square().sum(1).mean() / x.shape[1]


def weighted(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return WEIGHT * g.square().sum() / len(x)


def accumulated(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return g.square().sum() / ACCUMULATED / len(x)


def undone(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return g.square().sum() / len(x) / len(x) * len(x)


def scaled_gradient(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return ((g / len(x)).flatten(1).norm(dim=1) - 0.1).square().mean()


KINDS = (by_both, by_their_product, values_first, by_all_values, mean_of_values, weighted, accumulated, undone, scaled_gradient)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    x, y = torch.randn(8, 8), torch.randint(5, (8,))
    optimizer.zero_grad()
    (F.cross_entropy(model(x), y) + 0.1 * penalties(model, x)).backward()
    loss = F.cross_entropy(model(x), y, reduction="sum") / len(x) + 0.1 * gradient(model, x).square().sum() / len(x) / x.shape[1]
    loss.backward()
    optimizer.step()
