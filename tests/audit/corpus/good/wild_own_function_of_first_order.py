"""A Function whose backward has no graph, in a network of which only a sign of the gradient is taken.

Thread: none; written for the kind
"""

import torch
from torch import nn


class Detached(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        with torch.no_grad():
            s = ctx.saved_tensors[0].sigmoid()
            return gradient * s * (1 - s)


class Gate(nn.Module):
    def forward(self, x):
        return Detached.apply(x)


net = nn.Sequential(nn.Linear(3, 16), Gate(), nn.Linear(16, 2))
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(12, 3, requires_grad=True), torch.randint(2, (12,))
    loss = nn.functional.cross_entropy(net(x), y)
    (g,) = torch.autograd.grad(loss, x)
    step = nn.functional.cross_entropy(net((x + 0.1 * g.sign()).detach()), y)
    opt.zero_grad()
    step.backward()
    opt.step()
