"""Forces through an activation whose backward works on .data, beside one that has its graph.

Thread: none; written for the kind
"""

import torch
from torch import nn


class Act(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        x = ctx.saved_tensors[0].detach()
        s = torch.sigmoid(x)
        return g.data * (s + x * s * (1 - s))


lin = nn.Linear(3, 16)
out = nn.Linear(16, 1)
opt = torch.optim.SGD([*lin.parameters(), *out.parameters()], 1e-2)
for i in range(4):
    pos = torch.randn(16, 3, requires_grad=True)
    h = lin(pos)
    e = out(Act.apply(h) + torch.tanh(h))
    F = -torch.autograd.grad(e, pos, torch.ones_like(e), create_graph=True)[0]  # expect: IG608 error
    loss = (F - torch.randn(16, 3)).square().mean() + e.square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
