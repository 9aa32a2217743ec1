"""The norm of a residual over all collocation points is one number by intention; the batch holds ten points, and another weight is ten.

Thread: discuss.pytorch.org, topic 177249, "Avoid the sum from autograd.grad"
"""

import torch
from torch import nn


class Burgers(nn.Module):
    def __init__(self, viscosity: float = 0.1) -> None:
        super().__init__()
        self.net, self.viscosity = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)), viscosity

    def residual(self, points: torch.Tensor) -> torch.Tensor:
        points.requires_grad_()
        u = self.net(points)
        g = torch.autograd.grad(u, points, torch.ones_like(u), create_graph=True)[0]
        u_t, u_x = g[:, 0:1], g[:, 1:2]
        u_xx = torch.autograd.grad(u_x.sum(), points, create_graph=True)[0][:, 1:2]
        return u_t + u * u_x - self.viscosity * u_xx


model = Burgers()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    start = torch.cat([torch.zeros(10, 1), torch.rand(10, 1)], dim=1)
    initial = (model.net(start) + torch.sin(torch.pi * start[:, 1:])).square().mean()
    loss = torch.norm(model.residual(torch.rand(10, 2))) + 10 * initial
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
