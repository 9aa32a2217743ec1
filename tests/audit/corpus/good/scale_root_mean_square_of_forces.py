"""The root mean square error of forces: one root over all components is what the name says, and the energies are summed before the derivative.

Thread: TUM-DAML/gemnet#6
"""

import torch
from torch import nn


class Energy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 24), nn.SiLU(), nn.Linear(24, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        i, j = torch.triu_indices(4, 4, offset=1)
        return self.net((positions[:, i] - positions[:, j]).square().sum(-1).sqrt()).squeeze(-1)


def main() -> None:
    torch.manual_seed(0)
    energy, truth = Energy(), (torch.randn(10, 4, 3), torch.randn(10), torch.randn(10, 4, 3))
    optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
    for _ in range(3):
        positions, energies, forces = (part.clone() for part in truth)
        positions.requires_grad_()
        total = energy(positions)
        predicted = -torch.autograd.grad(total.sum(), positions, create_graph=True)[0]
        rmse = torch.sqrt(((predicted - forces) ** 2).mean())
        loss = (total - energies).abs().mean() + 10 * rmse
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
