"""A cubic activation whose backward works under no_grad.

Thread: none; written for the kind
"""

import torch
from torch import nn


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            return g * 3 * x**2


class A(nn.Module):
    def forward(s, x):
        return Cube.apply(x)


net = nn.Sequential(nn.Linear(3, 16), A(), nn.Linear(16, 1))
opt = torch.optim.SGD(net.parameters(), 1e-3)
for i in range(4):
    x = torch.randn(16, 3, requires_grad=True)
    o = net(x)
    (g,) = torch.autograd.grad(o.sum(), x, create_graph=True)  # expect: IG608 error
    loss = o.square().mean() + 0.1 * g.square().sum(1).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
