"""Functions of one's own with a backward that has its graph: straight through, clipping, reversal.

Thread: none; written for the kind
"""

import torch
from torch import nn


class STE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-0.1, 0.1)


class Rev(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, a):
        ctx.a = a
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.a * g, None


net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.SGD(net.parameters(), 1e-3)
for f in (STE.apply, Clip.apply, lambda x: Rev.apply(x, 0.3)):
    for i in range(2):
        x = torch.randn(16, 3, requires_grad=True)
        o = net(f(x))
        (g,) = torch.autograd.grad(o.sum(), x, create_graph=True)
        loss = o.square().mean() + 0.1 * g.square().sum(1).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
