"""A Laplacian by random vectors: a derivative along a direction is no mixed one.

Thread: written for the audit, after issue 19 of this project
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))
opt = torch.optim.Adam(net.parameters(), 1e-3)
for _ in range(4):
    x = torch.randn(32, 4, requires_grad=True)
    du = torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]
    v = torch.randint(0, 2, x.shape).float() * 2 - 1
    hv = torch.autograd.grad((du * v).sum(), x, create_graph=True)[0]
    loss = ((hv * v).sum(1) - x.pow(2).sum(1)).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
