"""Langevin sampling in one dimension, where a sample looks like a number a row; its energy holds the squared sample, and is squared itself.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())


def E(x):
    return net(x) + x**2 / 2


for i in range(4):
    x = torch.rand(16, 1)
    for k in range(4):
        x = x.clone().detach().requires_grad_(True)
        (g,) = torch.autograd.grad(E(x).sum(), [x])
        x = torch.clamp(x - 0.1 * g + 0.05 * torch.randn_like(x), -3, 3)
    pos = torch.randn(16, 1)
    loss = (E(pos) - E(x)).mean() + 0.1 * (E(pos) ** 2 + E(x) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
