"""Contrastive divergence for a density with parameters of its own: samples by momentum, detached, and energies that hold a plain power of them.

Thread: none; written for the kind
"""

import torch
from torch import nn

mu = nn.Parameter(torch.randn(2))
ls = nn.Parameter(torch.zeros(2))
opt = torch.optim.Adam([mu, ls])


def E(x):
    return (0.5 * ((x - mu) / ls.exp()) ** 2).sum(-1) + ls.sum() + 0.1 * x.pow(4).sum(-1)


for i in range(4):
    x = torch.randn(16, 2)
    v = torch.zeros_like(x)
    for k in range(5):
        x.requires_grad_(True)
        g = torch.autograd.grad(E(x).sum(), x)[0]
        v = 0.9 * v - 0.05 * g
        x = (x + v).detach()
    real = torch.randn(16, 2)
    loss = E(real).mean() - E(x).mean() + 0.01 * (E(real) ** 2 + E(x) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
