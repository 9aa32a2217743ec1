"""A Function of one's own with a second derivative, in a script that takes warnings for errors.

Thread: none; rosinality/stylegan2-pytorch has such functions
"""

import warnings

import torch
from torch import nn

warnings.simplefilter("error")


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


first, last = nn.Linear(6, 16), nn.Linear(16, 1)
optimizer = torch.optim.Adam([*first.parameters(), *last.parameters()], lr=1e-3)
for _ in range(3):
    x = torch.randn(8, 6, requires_grad=True)
    score = last(Square.apply(first(x)))
    (g,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    optimizer.zero_grad()
    (score.mean() + g.square().sum(1).mean()).backward()
    optimizer.step()
