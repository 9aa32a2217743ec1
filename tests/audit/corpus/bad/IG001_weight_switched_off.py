"""A criterion of the library whose term was switched off by its weight.

Thread: this library, an issue on the audit of its own users
"""

import torch
from torch import nn

import inputgrad as ig

smoothness = 0.0
net = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
objective = nn.MSELoss() + smoothness * ig.GradientNorm(of="output")
for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    optimizer.zero_grad()
    objective(net, x, y).backward()  # expect: IG001 warning
    optimizer.step()
