"""Virtual adversarial training that stops tracking for its perturbed passes: the clean pass and the loss's move the statistics, the search does not.

Thread: lyakaap/VAT-pytorch#12
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn


@contextlib.contextmanager
def untracked(model: nn.Module):
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        layer.track_running_stats = False
    yield
    for layer in layers:
        layer.track_running_stats = True


def local_smoothness(model: nn.Module, x: torch.Tensor, xi: float = 1.0, eps: float = 1.0) -> torch.Tensor:
    with torch.no_grad():
        clean = model(x).softmax(1)
    d = F.normalize(torch.randn_like(x).flatten(1), dim=1).view_as(x).requires_grad_()
    with untracked(model):
        (g,) = torch.autograd.grad(F.kl_div(model(x + xi * d).log_softmax(1), clean, reduction="batchmean"), d)
        moved = x + eps * F.normalize(g.flatten(1), dim=1).view_as(x)
        return F.kl_div(model(moved).log_softmax(1), clean, reduction="batchmean")


model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    x, y = torch.rand(8, 1, 8, 8), torch.randint(4, (8,))
    loss = local_smoothness(model, x) + F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
