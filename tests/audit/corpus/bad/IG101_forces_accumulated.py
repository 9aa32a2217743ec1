"""Energies and forces with gradient accumulation: the force loss has no second-order step.

Thread: aiqm/torchani#238
"""

import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 12), nn.CELU(), nn.Linear(12, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return self.layers(positions).sum((1, 2))


potential = Potential()
optimizer = torch.optim.AdamW(potential.parameters(), lr=1e-3)
micro_batches = 2
for batch in range(8):
    positions = torch.randn(4, 5, 3).requires_grad_(True)
    energies, forces = torch.randn(4), torch.randn(4, 5, 3)
    predicted = potential(positions)
    predicted_forces = -torch.autograd.grad(predicted.sum(), positions, retain_graph=True)[0]  # expect: IG101 error
    energy_loss = nn.functional.mse_loss(predicted, energies)
    force_loss = (forces - predicted_forces).square().mean(dim=(1, 2)).mean()
    loss = (energy_loss + 0.1 * force_loss) / micro_batches
    loss.backward()
    if (batch + 1) % micro_batches == 0:
        optimizer.step()
        optimizer.zero_grad()
