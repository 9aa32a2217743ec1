"""R1 in the critic's loss at every 16th step, times 16; two optimisers, each emptied before its own backward.

Thread: rosinality/stylegan2-pytorch#32
"""

import torch
import torch.nn.functional as F
from torch import nn


class GAN:
    every = 16

    def __init__(self, gamma: float) -> None:
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        self.critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr=1e-3, betas=(0.0, 0.99))
        self.opt_d = torch.optim.Adam(self.critic.parameters(), lr=1e-3, betas=(0.0, 0.99))
        self.gamma = gamma

    def critic_step(self, real: torch.Tensor, number: int) -> None:
        lazy = number % self.every == 0
        real.requires_grad_(lazy)
        scores = self.critic(real)
        loss = F.softplus(-scores).mean() + F.softplus(self.critic(self.generator(torch.randn(16, 4)).detach())).mean()
        if lazy:
            (g,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            loss = loss + self.every * self.gamma / 2 * g.square().sum(1).mean()
        self.opt_d.zero_grad()
        loss.backward()
        self.opt_d.step()

    def generator_step(self) -> None:
        self.opt_g.zero_grad()
        F.softplus(-self.critic(self.generator(torch.randn(16, 4)))).mean().backward()
        self.opt_g.step()


gan = GAN(10.0)
for number in range(20):
    gan.critic_step(torch.randn(16, 2), number)
    gan.generator_step()
