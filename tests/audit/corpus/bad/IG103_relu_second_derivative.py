"""A Poisson equation on a ReLU network: the second derivative is zero wherever it exists, and the residual trains nothing.

Thread: ComputationalDomain/PINNs#1
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(1, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
boundary = torch.tensor([[0.0], [1.0]])
for _ in range(4):
    x = torch.rand(50, 1, requires_grad=True)
    u = net(x)
    u_x = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]
    u_xx = torch.autograd.grad(u_x, x, torch.ones_like(u_x), create_graph=True)[0]  # expect: IG103 error
    residual = u_xx + torch.sin(3 * x)
    loss = residual.square().mean() + net(boundary).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
