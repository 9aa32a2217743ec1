"""A Laplacian by torch.autograd.functional.hessian.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(3):
    x = torch.rand(4, 2)
    lap = torch.stack([torch.autograd.functional.hessian(lambda p: net(p).sum(), p).trace() for p in x])  # expect: IG101 error
    loss = (lap + 1).square().mean() + net(x).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
