"""Score matching whose trace carries no graph.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.randn(32, 2, requires_grad=True)
    e = net(x).sum()
    s = torch.autograd.grad(e, x, create_graph=True)[0]
    tr = 0
    for k in range(2):
        tr = tr + torch.autograd.grad(s[:, k].sum(), x, retain_graph=True)[0][:, k]  # expect: IG101 error
    loss = (0.5 * s.pow(2).sum(1) + tr).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
