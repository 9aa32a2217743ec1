"""The continuity equation with one of two velocities' derivatives without a graph.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 3))
opt = torch.optim.Adam(net.parameters())


def D(a, x, cg=True):
    return torch.autograd.grad(a, x, grad_outputs=torch.ones_like(a), create_graph=cg, retain_graph=True)[0]  # expect: IG101 error


crit = nn.MSELoss()
for i in range(4):
    X = torch.rand(32, 2).requires_grad_()
    o = net(X)
    u, v, p = o[:, 0:1], o[:, 1:2], o[:, 2:3]
    du = D(u, X)
    dv = D(v, X, False)
    dp = D(p, X)
    c = du[:, 0:1] + dv[:, 1:2]
    m = u * du[:, 0:1] + dp[:, 0:1]
    loss = crit(c, torch.zeros_like(c)) + crit(m, torch.zeros_like(m))
    opt.zero_grad()
    loss.backward()
    opt.step()
