"""Source, target and mixed features are stacked for one call of the critic; the batch is then dim 1, and the norm runs over it.

Thread: jvanvugt/pytorch-domain-adaptation#8
"""

import torch
from torch import nn


class Alignment:
    def __init__(self, width: int = 16) -> None:
        self.critic = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 1))
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=1e-4)

    def penalty(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        mixed = source + torch.rand(len(source), 1) * (target - source)
        points = torch.stack([mixed, source, target]).requires_grad_()
        values = self.critic(points)
        gradients = torch.autograd.grad(values, points, torch.ones_like(values), create_graph=True)[0]
        return ((gradients.norm(2, dim=1) - 1) ** 2).mean()  # expect: IG302 error

    def step(self, source: torch.Tensor, target: torch.Tensor) -> None:
        loss = self.critic(target).mean() - self.critic(source).mean() + 10 * self.penalty(source, target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


alignment = Alignment()
for _ in range(3):
    alignment.step(torch.randn(12, 16), torch.randn(12, 16) + 1)
