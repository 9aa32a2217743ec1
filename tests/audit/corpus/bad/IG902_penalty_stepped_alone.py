"""A critic stepped twice: along the loss by one Adam, along the penalty alone by another.

Thread: heykeetae/Self-Attention-GAN#27
"""

import torch
from torch import nn


class Trainer:
    def __init__(self, weight: float) -> None:
        self.critic = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))
        self.of_loss = torch.optim.Adam(self.critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
        self.of_penalty = torch.optim.Adam(self.critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
        self.weight = weight

    def penalty(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        alpha = torch.rand(len(real), 1)
        x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        g = torch.autograd.grad(self.critic(x).sum(), x, create_graph=True)[0]
        return ((g.norm(dim=1) - 1) ** 2).mean()

    def step(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        self.of_loss.zero_grad()
        (self.critic(fake).mean() - self.critic(real).mean()).backward()
        self.of_loss.step()
        self.of_penalty.zero_grad()
        (self.weight * self.penalty(real, fake)).backward()
        self.of_penalty.step()  # expect: IG902 warning


trainer = Trainer(10.0)
for _ in range(3):
    trainer.step(torch.randn(16, 2), torch.randn(16, 2) + 2)
