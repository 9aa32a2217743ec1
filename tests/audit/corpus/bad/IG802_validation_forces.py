"""Forces in a validation loop under inference_mode: enable_grad does not lift it.

Thread: torchmd/torchmd-net#211
Raises: RuntimeError
"""

import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            positions.requires_grad_(True)
            energy = self.net(positions).sum((1, 2))
            forces = -torch.autograd.grad(energy.sum(), positions, create_graph=self.training)[0]  # expect: IG802 error
        return energy, forces


model = Potential()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    energy, forces = model(torch.randn(8, 4, 3))
    optimizer.zero_grad()
    (energy.square().mean() + forces.square().mean()).backward()
    optimizer.step()
model.eval()
with torch.inference_mode():
    _, forces = model(torch.randn(8, 4, 3))
    print(forces.abs().mean())
