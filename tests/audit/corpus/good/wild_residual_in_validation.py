"""A residual that trains, and the same function for a number that is printed.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())


def residual(X):
    u = net(X)
    d = torch.autograd.grad(u, X, torch.ones_like(u), create_graph=True)[0]
    uxx = torch.autograd.grad(d[:, 0].sum(), X, create_graph=True)[0][:, 0:1]
    return d[:, 1:2] + u * d[:, 0:1] - 0.1 * uxx


hist = []
for i in range(4):
    X = torch.rand(32, 2, requires_grad=True)
    loss = residual(X).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    V = torch.rand(32, 2, requires_grad=True)
    r = residual(V)
    hist.append(r.norm().item())
    print((r**2).mean().item())
