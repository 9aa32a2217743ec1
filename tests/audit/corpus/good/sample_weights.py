"""Samples are weighted by the norm of their input gradient, which is a constant: no derivative of the weights is wanted.

Thread: ashawkey/stable-dreamfusion#335 (a gradient as a constant on purpose)
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(24, 6, requires_grad=True), torch.randint(4, (24,))
    losses = F.cross_entropy(model(x), y, reduction="none")
    (g,) = torch.autograd.grad(losses.sum(), x, retain_graph=True)
    importance = g.norm(dim=1).detach()
    weights = importance / importance.sum()
    loss = (weights * losses).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
