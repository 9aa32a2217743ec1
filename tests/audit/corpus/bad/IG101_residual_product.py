"""A conservation law with a factor that carries no graph.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.rand(32, 1, requires_grad=True)
    t = torch.rand(32, 1, requires_grad=True)
    u = net(torch.cat([x, t], 1))
    ut = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
    ux = torch.autograd.grad(u.sum(), x, retain_graph=True)[0]  # expect: IG101 error
    loss = (ut + u * ux).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
