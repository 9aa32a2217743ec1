"""The gradient of an image critic with ``norm(2, dim=1)``: a norm over the three channels of every pixel, each pulled to 1.

Thread: caogang/wgan-gp#25
"""

import torch
from torch import nn

LAMBDA = 10


def penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(real.size(0), 1, 1, 1)
    interpolates = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    out = critic(interpolates)
    gradients = torch.autograd.grad(out, interpolates, torch.ones_like(out), create_graph=True, retain_graph=True, only_inputs=True)[0]
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean() * LAMBDA  # expect: IG303 error


torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(8, 3 * 16 * 16), nn.Tanh(), nn.Unflatten(1, (3, 16, 16)))
critic = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4), nn.Flatten())
d_optimizer = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
for _ in range(3):
    real = torch.rand(8, 3, 16, 16) * 2 - 1
    fake = generator(torch.randn(8, 8)).detach()
    d_loss = critic(fake).mean() - critic(real).mean() + penalty(critic, real, fake)
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
