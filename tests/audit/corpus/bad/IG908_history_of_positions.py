"""A model that calls requires_grad_ on the caller's positions, which the caller moves on with their history.

Thread: TorchSim/torch-sim#540
"""

import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        if not positions.requires_grad:
            positions.requires_grad_(True)
        energy = self.net(positions).sum()
        return -torch.autograd.grad(energy, positions, create_graph=True)[0]  # expect: IG908 warning, IG910 note


model = Potential()
positions = torch.randn(5, 3)
for _ in range(6):
    positions = positions + 0.01 * model(positions)
print(positions.requires_grad)
