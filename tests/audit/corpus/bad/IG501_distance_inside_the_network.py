"""A signed distance with a norm inside the network: at its centre the gradient is finite and the second backward is NaN.

Thread: mitsuba-renderer/mitsuba3#765
"""

import torch
from torch import nn


class Ball(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 0.8, 1.2]))
        self.radius = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.scale).norm(dim=-1) - self.radius


def eikonal(field: nn.Module, points: torch.Tensor) -> torch.Tensor:
    points.requires_grad_()
    g = torch.autograd.grad(field(points).sum(), points, create_graph=True)[0]  # expect: IG501 error
    return (g.norm(dim=-1) - 1).square().mean()


def main() -> None:
    field = Ball()
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    axis = torch.linspace(-1, 1, 3)
    for _ in range(3):
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)  # the centre is one of its points
        surface = nn.functional.normalize(torch.randn(40, 3), dim=1) * 0.6
        loss = field(surface).abs().mean() + 0.1 * eikonal(field, grid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
