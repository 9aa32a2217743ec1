"""create_graph=self.training, and the model is fine-tuned in evaluation mode to keep its dropout off.

Thread: atomistic-machine-learning/schnetpack#279
"""

import torch
from torch import nn


class ForceModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Dropout(0.1), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        positions = positions.requires_grad_(True)
        energy = self.net(positions)
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=self.training, retain_graph=True)  # expect: IG101 error
        return {"energy": energy, "forces": -gradient}


model = ForceModel()
model.eval()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
for _ in range(4):
    batch = {"positions": torch.randn(16, 3), "energy": torch.randn(16, 1), "forces": torch.randn(16, 3)}
    result = model(batch["positions"])
    loss = (result["energy"] - batch["energy"]).pow(2).mean() + 10 * (result["forces"] - batch["forces"]).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
