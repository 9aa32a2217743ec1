"""Criteria of the library: a weight from 0 on, one for the validation, a sum, one for a phase that has not come, a loss beside another.

Thread: this library, an issue on the audit of its own users
"""

import torch
from torch import nn

import inputgrad as ig

net = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 3))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
ramp = nn.CrossEntropyLoss() + (lambda step: 0.1 * step) * ig.GradientNorm(of="loss")
later = nn.CrossEntropyLoss() + 1.0 * ig.GradientNorm(of="label")
validation = nn.CrossEntropyLoss() + 0.1 * ig.GradientNorm(of="loss")
distance = nn.MSELoss()
for step in range(4):
    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    criterion = ramp if step < 100 else later
    optimizer.zero_grad()
    loss = criterion(net, x, y) + 0.01 * distance(net(x), torch.zeros(8, 3))
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        print(float(validation(net, x, y)))
