"""A Function whose backward only checks under no_grad.

Thread: none; written for the kind
"""

import torch
from torch import nn


class Saved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            assert gradient.isfinite().all()
        return gradient * torch.cos(x)


net = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 1))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for _ in range(4):
    points = torch.rand(20, 2, requires_grad=True)
    field = net(Saved.apply(points))
    (slope,) = torch.autograd.grad(field.sum(), points, create_graph=True)
    loss = (field - 1).square().mean() + 0.1 * (slope.norm(dim=1) - 1).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
