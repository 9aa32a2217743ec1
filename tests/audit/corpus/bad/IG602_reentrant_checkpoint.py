"""Forces from a checkpointed network: re-entrant checkpointing refuses autograd.grad.

Thread: haidog-yaqub/MeanFlow#4
Raises: RuntimeError
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Energy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Linear(3, 16), nn.Sequential(nn.SiLU(), nn.Linear(16, 16), nn.SiLU()), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(checkpoint(self.block, self.first(x), use_reentrant=True)).sum(1)


model = Energy()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    positions = torch.randn(10, 5, 3, requires_grad=True)
    wanted = torch.zeros(10, 5, 3)
    energy = model(positions)
    forces = -torch.autograd.grad(energy.sum(), positions, create_graph=True)[0]  # expect: IG602 error
    loss = energy.square().mean() + (forces - wanted).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
