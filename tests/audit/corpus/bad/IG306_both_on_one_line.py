"""Penalties that one line divides by the batch size twice: one division after the other, a product, a power, an inverse, before the sum and after it.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

BATCH = 12


def gradient(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(model(x).logsumexp(1).sum(), x, create_graph=True)[0]


def after_another(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return gradient(model, x).pow(2).sum() / len(x) / len(x)  # expect: IG306 warning


def in_two_steps(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return gradient(model, x).pow(2).sum(1).sum() / len(x) / len(x)  # expect: IG306 warning


def by_shape(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (gradient(model, x).norm(dim=1) - 1).pow(2).sum() / x.shape[0] / x.shape[0]  # expect: IG306 warning


def product(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return gradient(model, x).square().sum() / (len(x) * x.size(0))  # expect: IG306 warning


def power(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return gradient(model, x).square().sum() / len(x) ** 2  # expect: IG306 warning


def values_too(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    n, d = x.shape
    return gradient(model, x).square().sum() / (n * d) * 0.5 / n  # expect: IG306 warning


def all_values(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return gradient(model, x).square().sum() / x.numel() / len(x)  # expect: IG306 warning


def inverse(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    count = x.shape[0]
    return (1 / count) * gradient(model, x).square().sum(1).mean()  # expect: IG306 warning


def before_the_sum(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (gradient(model, x).square().sum(1) / len(x)).mean()  # expect: IG306 warning


def by_method(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.div(gradient(model, x).square().sum().div(len(x)), float(len(x)))  # expect: IG306 warning


def in_place(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    penalty = gradient(model, x).square().sum(1).mean()
    penalty /= len(x)  # expect: IG306 warning
    return penalty


def summed(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return gradient(model, x).square().sum()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
kinds = (after_another, in_two_steps, by_shape, product, power, values_too, all_values, inverse, before_the_sum, by_method, in_place)
for _ in range(3):
    x, y = torch.randn(BATCH, 10), torch.randint(5, (BATCH,))
    optimizer.zero_grad()
    for kind in kinds:
        (F.cross_entropy(model(x), y) + 0.1 * kind(model, x)).backward()
    batch_size = len(x)
    penalty = summed(model, x)
    loss = F.cross_entropy(model(x), y, reduction="sum") / batch_size + 0.1 * penalty / len(x) / batch_size  # expect: IG306 warning
    loss.backward()
    optimizer.step()
