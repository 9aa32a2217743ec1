"""A physics-informed network trained by LBFGS: everything is computed inside the closure.

Thread: pytorch/pytorch#111369
"""

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.LBFGS(net.parameters(), max_iter=5, line_search_fn="strong_wolfe")
points = torch.rand(40, 2)
start = torch.stack([torch.linspace(-1, 1, 20), torch.zeros(20)], 1)


def gradient(u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True, retain_graph=True)[0]


def closure() -> torch.Tensor:
    optimizer.zero_grad()
    x = points.clone().requires_grad_(True)
    u = net(x)
    du = gradient(u, x)
    u_x, u_t = du[:, :1], du[:, 1:]
    u_xx = gradient(u_x, x)[:, :1]
    residual = u_t + u * u_x - 0.01 * u_xx
    initial = net(start) + torch.sin(torch.pi * start[:, :1])
    loss = residual.square().mean() + initial.square().mean()
    loss.backward()
    return loss


for _ in range(4):
    optimizer.step(closure)
