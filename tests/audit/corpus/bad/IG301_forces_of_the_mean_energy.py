"""Forces as the derivative of the batch's MEAN energy, compared with true forces: each comes out N times too small.

Thread: jacobgil/pytorch-grad-cam#584
"""

import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        i, j = torch.triu_indices(5, 5, offset=1)
        distances = (positions[:, i] - positions[:, j]).norm(dim=-1)
        return self.mlp(distances).squeeze(-1)


def fit(frames: int = 8) -> None:
    potential = Potential()
    optimizer = torch.optim.AdamW(potential.parameters(), lr=1e-3)
    positions, energies, forces = torch.randn(frames, 5, 3), torch.randn(frames), torch.randn(frames, 5, 3)
    for _ in range(4):
        moved = positions.clone().requires_grad_()
        energy = potential(moved)
        predicted = -torch.autograd.grad(energy.mean(), moved, create_graph=True)[0]  # expect: IG301 warning
        loss = nn.functional.mse_loss(energy, energies) + 100 * nn.functional.mse_loss(predicted, forces)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


fit()
