"""Forces of molecules without a graph.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())
mse = nn.MSELoss()
for i in range(4):
    p = torch.randn(4, 5, 3, requires_grad=True)
    e = net(p).sum((1, 2))
    f = -torch.autograd.grad(e.sum(), p, retain_graph=True)[0]  # expect: IG101 error
    le = mse(e, torch.randn(4))
    lf = mse(f, torch.randn(4, 5, 3))
    loss = le + 100 * lf
    opt.zero_grad()
    loss.backward()
    opt.step()
