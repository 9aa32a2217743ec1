"""Second derivatives column by column, along random signs, and all at once where the columns do not mix.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
one = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.Adam([*net.parameters(), *one.parameters()])
for i in range(4):
    X = torch.rand(32, 2, requires_grad=True)
    g = torch.autograd.grad(net(X).sum(), X, create_graph=True)[0]
    lap = sum(torch.autograd.grad(g[:, k].sum(), X, create_graph=True)[0][:, k] for k in range(2))
    v = torch.randint(2, (32, 2)) * 2.0 - 1
    hv = torch.autograd.grad(g, X, v, create_graph=True)[0]
    tr = (hv * v).sum(1)
    Z = torch.rand(32, 2, requires_grad=True)
    f = one(Z.reshape(-1, 1)).reshape(32, 2)
    d1 = torch.autograd.grad(f, Z, torch.ones_like(f), create_graph=True)[0]
    d2 = torch.autograd.grad(d1, Z, torch.ones_like(d1), create_graph=True)[0]
    loss = (lap + 1).square().mean() + tr.square().mean() + (d2[:, 0] - d1[:, 1]).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
