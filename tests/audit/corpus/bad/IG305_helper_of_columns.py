"""A helper that differentiates along ones, applied to its own result.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())


def grad(y, x):
    return torch.autograd.grad(y, x, grad_outputs=torch.ones_like(y), create_graph=True, retain_graph=True)[0]  # expect: IG305 error


for i in range(4):
    X = torch.rand(32, 2, requires_grad=True)
    u = net(X)
    d = grad(u, X)
    dd = grad(d, X)
    loss = torch.nn.functional.mse_loss(d[:, [1]] - dd[:, [0]], torch.zeros(32, 1)) + net(torch.rand(4, 2)).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
