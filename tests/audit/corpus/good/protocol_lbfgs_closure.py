"""A residual of second order under LBFGS: the closure keeps the graph on purpose, for the derivative at the boundary.

Thread: pytorch/pytorch#111369
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4)
x = torch.linspace(0, 1, 20)[:, None].requires_grad_(True)


def closure() -> torch.Tensor:
    optimizer.zero_grad()
    u = net(x)
    (u_x,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x, create_graph=True)
    loss = (u_xx + 4 * u).square().mean() + u[0, 0].square() + (u_x[0, 0] - 1).square()
    loss.backward(retain_graph=True)
    return loss


for _ in range(3):
    optimizer.step(closure)
