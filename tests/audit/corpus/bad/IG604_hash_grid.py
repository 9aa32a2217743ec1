"""The eikonal loss on an encoding whose own backward is once_differentiable: it raises.

Thread: autonomousvision/sdfstudio#257
Raises: RuntimeError
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable


class Encoding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return torch.cat([(x * scale).sin(), (x * scale).cos()], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, scale = ctx.saved_tensors
        one, two = gradient.chunk(2, dim=1)
        inner = one * (x * scale).cos() - two * (x * scale).sin()
        return inner * scale, (inner * x).sum(0)


scale = nn.Parameter(torch.ones(3))
network = nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 1))
optimizer = torch.optim.Adam([*network.parameters(), scale], lr=1e-3)
for _ in range(2):
    points = torch.randn(32, 3, requires_grad=True)
    distance = network(Encoding.apply(points, scale))
    (normal,) = torch.autograd.grad(distance.sum(), points, create_graph=True)
    eikonal = (normal.norm(dim=1) - 1).square().mean()
    optimizer.zero_grad()
    (distance.abs().mean() + 0.1 * eikonal).backward()  # expect: IG604 error
    optimizer.step()
