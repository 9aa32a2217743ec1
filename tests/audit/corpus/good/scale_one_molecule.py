"""One molecule at a time: the sum over atoms is its energy, and the norm of all its forces is one molecule's norm.

Thread: openmm/openmm-torch#42
"""

import torch
from torch import nn


class Molecule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        i, j = torch.triu_indices(len(positions), len(positions), offset=1)
        return self.pair((positions[i] - positions[j]).norm(dim=1, keepdim=True)).sum()


model = Molecule()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    minimum = torch.randn(7, 3, requires_grad=True)
    energy = model(minimum)
    forces = -torch.autograd.grad(energy, minimum, create_graph=True)[0]
    loss = (energy + 1.0) ** 2 + forces.norm()  # no force at a minimum
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
