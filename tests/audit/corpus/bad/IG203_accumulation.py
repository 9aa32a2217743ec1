"""Gradient accumulation with zero_grad in every micro-batch: only the last one trains.

Thread: autonomousvision/stylegan-t#11
"""

import torch
from torch import nn


def objective(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.requires_grad_(True)
    out = model(x)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return nn.functional.mse_loss(out, y) + 0.1 * (g.norm(dim=1) - 1).square().mean()


model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
every = 4
for i in range(20):
    optimizer.zero_grad()  # expect: IG203 error
    loss = objective(model, torch.randn(8, 4), torch.randn(8, 1)) / every
    loss.backward()
    if (i + 1) % every == 0:
        optimizer.step()
