"""Optimal transport by two potentials: the pushed points are constants in the second potential's loss, and so is their cost.

Thread: none; written for the kind
"""

import torch
from torch import nn

f = nn.Sequential(nn.Linear(2, 32), nn.Softplus(), nn.Linear(32, 1))
g = nn.Sequential(nn.Linear(2, 32), nn.Softplus(), nn.Linear(32, 1))
of = torch.optim.Adam(f.parameters())
og = torch.optim.Adam(g.parameters())


def push(y):
    y = y.requires_grad_(True)
    return torch.autograd.grad(g(y).sum(), y, create_graph=True)[0]


for i in range(4):
    x, y = torch.randn(16, 2), torch.randn(16, 2) + 1
    t = push(y)
    lg = (f(t) - (t * y).sum(1, keepdim=True)).mean()
    og.zero_grad()
    lg.backward()
    og.step()
    t = push(y).detach()
    lf = (f(x) - f(t) + (t * y).sum(1, keepdim=True)).mean()
    of.zero_grad()
    lf.backward()
    of.step()
