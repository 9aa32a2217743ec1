"""A custom activation as the last layer, once_differentiable: nothing raises, and the slope's dependence through it is missing.

Thread: autonomousvision/sdfstudio#257
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


network = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for _ in range(3):
    x = torch.randn(32, 3, requires_grad=True)
    output = Squared.apply(network(x))
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)  # expect: IG604 warning
    loss = (output - 1).square().mean() + 0.1 * slope.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
