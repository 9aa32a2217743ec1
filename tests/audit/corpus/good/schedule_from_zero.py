"""A penalty whose weight grows from zero; while it is zero, no graph is asked for, and nothing is missing.

Thread: mlpack/mlpack#2891
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(6):
    weight = 0.1 * max(0, step - 1)
    x, y = torch.randn(16, 4, requires_grad=True), torch.randn(16, 1)
    out = model(x)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=weight > 0, retain_graph=True)
    loss = nn.functional.mse_loss(out, y) + weight * g.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
