"""The penalty goes through float() before it is added.

Thread: facebookresearch/DomainBed#50 (the same effect by another way)
"""

import torch
from torch import nn


def penalty_of(model: nn.Module, x: torch.Tensor) -> float:
    x = x.requires_grad_(True)
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return float((g.norm(dim=1) - 1).square().mean())  # expect: IG102 error


model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    penalty = penalty_of(model, x)
    loss = (model(x) - y).abs().mean() + 0.25 * penalty
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
