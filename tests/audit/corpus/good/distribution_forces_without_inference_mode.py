"""Forces in validation under no_grad, where enable_grad serves; the prediction itself leaves inference_mode.

Thread: Lightning-AI/pytorch-lightning#4487
"""

import torch
from torch import nn


class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            positions = positions.clone().requires_grad_(True)
            energy = self.net(positions).sum((1, 2))
            forces = -torch.autograd.grad(energy.sum(), positions, create_graph=self.training)[0]
        return energy, forces


model = Potential()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    model.train()
    energy, forces = model(torch.randn(8, 4, 3))
    optimizer.zero_grad()
    (energy.square().mean() + forces.square().mean()).backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        print(float(model(torch.randn(8, 4, 3))[1].abs().mean()))
    with torch.inference_mode():
        print(float(model(torch.randn(8, 4, 3))[1].abs().mean()))
