"""A critic whose three losses go back one after the other: gradients add up, and one step takes them all.

Thread: caogang/wgan-gp#36
"""

import torch
from torch import nn


def penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(real.size(0), 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(mixed)
    (g,) = torch.autograd.grad(score, mixed, torch.ones_like(score), create_graph=True)
    return 10 * ((g.norm(2, dim=1) - 1) ** 2).mean()


generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
optimizer_d = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.5, 0.9))
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.9))
for _ in range(3):
    for _ in range(2):
        critic.zero_grad()
        real = torch.randn(16, 2)
        critic(real).mean().mul(-1).backward()
        with torch.no_grad():
            fake = generator(torch.randn(16, 2))
        critic(fake).mean().backward()
        penalty(critic, real, fake).backward()
        optimizer_d.step()
    for parameter in critic.parameters():
        parameter.requires_grad_(False)
    generator.zero_grad()
    (-critic(generator(torch.randn(16, 2))).mean()).backward()
    optimizer_g.step()
    for parameter in critic.parameters():
        parameter.requires_grad_(True)
