"""A gradient penalty on images: the critic's outputs summed, each sample's gradient flattened, the norm over all of its pixels and channels.

Thread: caogang/wgan-gp#25
"""

import torch
from torch import nn


def gradient_penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(len(real), 1, 1, 1)
    x = (alpha * real + (1 - alpha) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    gradient = gradient.view(len(x), -1)
    return ((gradient.norm(2, dim=1) - 1) ** 2).mean()


torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 3 * 64), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
critic = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
d_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.0, 0.9))
g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.0, 0.9))
for _ in range(3):
    real = torch.rand(8, 3, 8, 8)
    fake = generator(torch.randn(8, 4))
    d_optimizer.zero_grad()
    (critic(fake.detach()).mean() - critic(real).mean() + 10 * gradient_penalty(critic, real, fake.detach())).backward()
    d_optimizer.step()
    g_optimizer.zero_grad()
    (-critic(fake).mean()).backward()
    g_optimizer.step()
