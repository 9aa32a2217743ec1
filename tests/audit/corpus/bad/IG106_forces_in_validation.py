"""Forces in a validation step that a trainer runs under no_grad.

Thread: Lightning-AI/pytorch-lightning#4487
Raises: RuntimeError
"""

import torch
from torch import nn


class Module(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 12), nn.SiLU(), nn.Linear(12, 1))

    def forces(self, positions: torch.Tensor) -> torch.Tensor:
        positions = positions.detach().requires_grad_(True)
        energy = self.net(positions).sum()
        return -torch.autograd.grad(energy, positions, create_graph=self.training)[0]  # expect: IG106 error

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return (self.forces(batch[0]) - batch[1]).square().mean()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return (self.forces(batch[0]) - batch[1]).abs().mean()


module = Module()
optimizer = torch.optim.Adam(module.parameters())
batch = torch.randn(8, 3), torch.randn(8, 3)
for _ in range(2):
    optimizer.zero_grad()
    module.training_step(batch).backward()
    optimizer.step()
module.eval()
with torch.no_grad():
    module.validation_step(batch)
