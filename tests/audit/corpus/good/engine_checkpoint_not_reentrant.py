"""Forces from a network with checkpoints that are not re-entrant.

Thread: pytorch/pytorch#32005
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Energy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Linear(3, 16), nn.Sequential(nn.SiLU(), nn.Linear(16, 16), nn.SiLU()), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(checkpoint(self.block, self.first(x), use_reentrant=False)).sum((1, 2))


model = Energy()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    positions, wanted = torch.randn(10, 5, 3, requires_grad=True), torch.randn(10, 5, 3)
    energy = model(positions)
    forces = -torch.autograd.grad(energy.sum(), positions, create_graph=True)[0]
    loss = energy.square().mean() + (forces - wanted).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
