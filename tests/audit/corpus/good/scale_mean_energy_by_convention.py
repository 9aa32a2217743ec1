"""The loss's mean energy is differentiated for speed in one call, and the forces are brought back to one frame each by the number of frames.

Thread: alexrame/fishr#2
"""

import torch
from torch import nn


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return self.net(positions.diff(dim=1).norm(dim=-1)).squeeze(-1)


def main() -> None:
    model = Pair()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    reference = torch.randn(8, 4, 3)
    for _ in range(3):
        positions = torch.randn(8, 4, 3, requires_grad=True)
        mean_energy = model(positions).mean()
        frames = positions.shape[0]
        forces = -frames * torch.autograd.grad(mean_energy, positions, create_graph=True)[0]
        loss = nn.functional.l1_loss(forces, reference)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
