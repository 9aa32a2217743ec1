"""The points are a function of others, so they keep no .grad: None where the slope at the boundary was expected.

Thread: erfanhamdi/pinn-torch#1
Raises: AttributeError
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
t = torch.rand(20, 1, requires_grad=True)
for _ in range(4):
    x = 2 * t - 1
    u = net(x)
    u.sum().backward(retain_graph=True)
    slope = x.grad  # expect: IG104 error
    loss = u.square().mean() + slope.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
