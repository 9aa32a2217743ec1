"""The gradient of a mean loss, multiplied by the batch size: that undoes the mean, as it should.

Thread: alexrame/fishr#2
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(24, 6, requires_grad=True), torch.randint(4, (24,))
    loss = F.cross_entropy(model(x), y)
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    g = g * len(x)
    penalty = g.square().sum(1).mean()
    optimizer.zero_grad()
    (loss + 0.1 * penalty).backward()
    optimizer.step()
