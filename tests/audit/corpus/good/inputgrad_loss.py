"""The library's own loss.

Thread: discuss.pytorch.org, topic 62771, "How to penalize the norm of an end-to-end Jacobian"
"""

import torch
from torch import nn

import inputgrad as ig

model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = ig.InputGradientLoss(nn.MSELoss(), 0.1 * ig.GradientNorm())
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    optimizer.zero_grad()
    loss = criterion(model, x, y)
    loss.backward()
    optimizer.step()
