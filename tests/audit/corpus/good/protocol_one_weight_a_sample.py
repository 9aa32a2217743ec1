"""WGAN-GP on images with weights of shape [N, 1, 1, 1], written three ways; and DRAGAN, whose noise is of the image's size by design.

Thread: akanimax/BMSG-GAN#35
"""

import torch
from torch import nn

critic = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(144, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)


def penalty(x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return ((g.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


for _ in range(3):
    real, fake = torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8)
    alpha = torch.rand(8, 1, 1, 1)
    between = [
        alpha * real + (1 - alpha) * fake,
        real + torch.rand(8, 1).view(8, 1, 1, 1).expand_as(real) * (fake - real),
        torch.lerp(real, fake, torch.empty(8, 1, 1, 1).uniform_(0, 1)),
    ]
    around = real + 0.5 * real.std() * torch.rand_like(real)
    loss = critic(fake).mean() - critic(real).mean() + 10 * sum(penalty(x) for x in [*between, around])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
