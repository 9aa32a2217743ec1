"""WGAN-GP with two optimisers; what the generator's backward leaves in the critic is emptied before the critic's own.

Thread: Lightning-AI/pytorch-lightning#591
"""

import torch
from torch import nn


class GAN:
    def __init__(self) -> None:
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
        self.critic = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 1))
        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr=1e-4, betas=(0.0, 0.9))
        self.opt_d = torch.optim.Adam(self.critic.parameters(), lr=1e-4, betas=(0.0, 0.9))

    def gradient_penalty(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        alpha = torch.rand(len(real), 1)
        mixed = (alpha * real + (1 - alpha) * fake).detach().requires_grad_(True)
        g = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)[0]
        return ((g.norm(dim=1) - 1) ** 2).mean()

    def train_step(self, real: torch.Tensor) -> None:
        fake = self.generator(torch.randn(len(real), 4))
        loss_d = self.critic(fake.detach()).mean() - self.critic(real).mean() + 10 * self.gradient_penalty(real, fake.detach())
        self.opt_d.zero_grad()
        loss_d.backward()
        self.opt_d.step()
        loss_g = -self.critic(fake).mean()
        self.opt_g.zero_grad()
        loss_g.backward()
        self.opt_g.step()


gan = GAN()
for _ in range(4):
    gan.train_step(torch.randn(16, 6))
