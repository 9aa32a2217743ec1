"""Langevin steps written into .data, a condition beside the sample, and a norm of the sample in the energy.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())


def E(x, t):
    return net(torch.cat([x, t], 1))[:, 0] + x.norm(dim=1) ** 2


for i in range(4):
    x = torch.rand(16, 2, requires_grad=True)
    t = torch.rand(16, 1)
    for k in range(4):
        e = E(x, t).sum()
        e.backward()
        x.data.add_(x.grad, alpha=-0.1)
        x.data += 0.01 * torch.randn_like(x)
        x.grad.zero_()
    opt.zero_grad()
    loss = E(torch.randn(16, 2), t).mean() - E(x.detach(), t).mean()
    loss.backward()
    opt.step()
