"""The model is given a new tensor made from the data; the gradient never gets to the one that requires it.

Thread: openmm/openmm-torch#42
Raises: AttributeError
"""

import torch
from torch import nn


class Energy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        positions = torch.tensor(positions.tolist())
        return self.net(positions).sum()


energy = Energy()
optimizer = torch.optim.Adam(energy.parameters())
positions = torch.randn(5, 3, requires_grad=True)
energy(positions).backward(retain_graph=True)
forces = -positions.grad.clone()  # expect: IG104 error
loss = (forces - torch.randn(5, 3)).square().mean()
optimizer.zero_grad()
loss.backward()
optimizer.step()
