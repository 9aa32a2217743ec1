"""Burgers' equation by a function that differentiates by one variable after the other; Adam, then L-BFGS.

Thread: written for the audit, after issue 19 of this project
"""

import torch
from torch import nn


def d(y, *variables):
    for x in variables:
        (y,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    return y


net = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))
adam, lbfgs = torch.optim.Adam(net.parameters(), 1e-3), torch.optim.LBFGS(net.parameters(), max_iter=3)


def residual():
    x, t = torch.rand(32, 1, requires_grad=True), torch.rand(32, 1, requires_grad=True)
    u = net(torch.cat([x, t], 1))
    return (d(u, t) + u * d(u, x) - 0.01 * d(u, x, x)).pow(2).mean() + (net(torch.rand(8, 2) * torch.tensor([1.0, 0.0]))).pow(2).mean()


for _ in range(2):
    adam.zero_grad()
    residual().backward()
    adam.step()


def closure():
    lbfgs.zero_grad()
    loss = residual()
    loss.backward()
    return loss


lbfgs.step(closure)
