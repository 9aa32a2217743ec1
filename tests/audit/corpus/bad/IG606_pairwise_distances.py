"""Forces of a potential made of torch.cdist: its derivative cannot be differentiated again.

Thread: rosinality/stylegan2-pytorch#179
Raises: NotImplementedError
"""

import torch
from torch import nn


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        first, second = torch.triu_indices(positions.shape[1], positions.shape[1], 1)
        distances = torch.cdist(positions, positions)[:, first, second]
        return self.net(distances.unsqueeze(-1)).sum((1, 2))


model = Pairs()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(2):
    positions = torch.randn(4, 5, 3, requires_grad=True)
    energy = model(positions)
    forces = -torch.autograd.grad(energy.sum(), positions, create_graph=True)[0]
    loss = energy.square().mean() + forces.square().mean()
    optimizer.zero_grad()
    loss.backward()  # expect: IG606 error
    optimizer.step()
