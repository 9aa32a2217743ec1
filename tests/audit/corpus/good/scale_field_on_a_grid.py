"""The eikonal loss of a field on a grid of coordinates (N, 3, H, W): one value at each position, and dim 1 holds its derivative's three parts.

Thread: sdfstudio#257
"""

import torch
from torch import nn


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 24, 1), nn.Softplus(beta=10), nn.Conv2d(24, 24, 1), nn.Softplus(beta=10), nn.Conv2d(24, 1, 1))

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        return self.layers(coordinates)


def eikonal(field: nn.Module, coordinates: torch.Tensor) -> torch.Tensor:
    coordinates.requires_grad_()
    normals = torch.autograd.grad(field(coordinates).sum(), coordinates, create_graph=True)[0]
    return ((normals.norm(dim=1) - 1) ** 2).mean()


field = Field()
optimizer = torch.optim.Adam(field.parameters(), lr=1e-3)
for _ in range(3):
    on_surface = nn.functional.normalize(torch.randn(2, 3, 8, 8), dim=1)
    loss = field(on_surface).abs().mean() + 0.1 * eikonal(field, torch.rand(2, 3, 8, 8) * 2 - 1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
