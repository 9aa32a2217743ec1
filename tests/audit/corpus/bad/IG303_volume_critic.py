"""A critic of volumes whose penalty sums the squares over dim 1 alone, the channels, before the root; compared with ones by a loss.

Thread: Zeleni9/pytorch-wgan#40
"""

import torch
import torch.nn.functional as F
from torch import nn


class Trainer:
    def __init__(self) -> None:
        self.critic = nn.Sequential(nn.Conv3d(2, 4, 4, 2, 1), nn.SiLU(), nn.Conv3d(4, 1, 4), nn.Flatten(0))
        self.optimizer = torch.optim.RMSprop(self.critic.parameters(), lr=1e-4)

    def gradient_penalty(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        eps = torch.rand(len(real), 1, 1, 1, 1)
        x = torch.lerp(fake, real, eps).requires_grad_()
        grad = torch.autograd.grad(self.critic(x).sum(), x, create_graph=True)[0]
        norm = (torch.sum(grad**2, dim=1) + 1e-12).sqrt()  # expect: IG303 error
        return F.mse_loss(norm, torch.ones_like(norm))

    def step(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        loss = self.critic(fake).mean() - self.critic(real).mean() + 10 * self.gradient_penalty(real, fake)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


trainer = Trainer()
for _ in range(3):
    trainer.step(torch.randn(4, 2, 8, 8, 8), torch.randn(4, 2, 8, 8, 8))
