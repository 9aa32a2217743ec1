"""The wave equation by a Jacobian and a Hessian that are written into buffers row by row, as helper functions of implicit networks do it.

Thread: vsitzmann/siren (shape of its helper functions, written anew)
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)


def rows(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """∂values/∂x, of shape (points, values, inputs)."""
    table = torch.zeros(len(x), values.shape[1], x.shape[1])
    for row in range(values.shape[1]):
        table[:, row, :] = torch.autograd.grad(values[:, row].sum(), x, create_graph=True)[0]
    if torch.any(torch.isnan(table)):
        raise ValueError("a derivative is not a number")
    return table


for _ in range(4):
    x = (2 * torch.rand(32, 2) - 1).requires_grad_(True)
    first = rows(net(x), x)
    second = rows(first[:, 0, :], x)
    wave = second[:, 0, 0] - 0.5 * second[:, 1, 1]
    at_rest = first[:8, 0, 0]
    loss = wave.abs().mean() + at_rest.abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
