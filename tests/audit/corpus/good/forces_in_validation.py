"""Energies and forces; a validation under no_grad turns gradients on where the forces are taken.

Thread: Lightning-AI/pytorch-lightning#4487
"""

import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            positions = positions.detach().requires_grad_(True)
            energy = self.net(positions).sum((1, 2))
            (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=self.training)
        return energy, -gradient


model = Potential()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
positions, energies, forces = torch.randn(8, 5, 3), torch.randn(8), torch.randn(8, 5, 3)
for _ in range(3):
    model.eval()
    with torch.no_grad():
        energy, force = model(positions)
        print("validation", (force - forces).abs().mean().item(), (energy - energies).abs().mean().item())
    model.train()
    energy, force = model(positions)
    loss = (energy - energies).square().mean() + 10 * (force - forces).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
