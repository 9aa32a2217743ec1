"""A network for a differential equation, trained in a loop without zero_grad.

Thread: Lightning-AI/pytorch-lightning#557
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
t = torch.linspace(0, 1, 20)[:, None].requires_grad_(True)
for _ in range(3):
    u = net(t)
    (u_t,) = torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)
    loss = (u_t + u).square().mean() + (u[0] - 1).square().mean()
    loss.backward()
    optimizer.step()  # expect: IG901 error
