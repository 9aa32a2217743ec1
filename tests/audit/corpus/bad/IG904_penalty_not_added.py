"""A gradient penalty that is computed and printed, and left out of the critic's loss.

Thread: junyanz/pytorch-CycleGAN-and-pix2pix#1201
"""

import torch
from torch import nn


def gradient_penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(real.shape[0], 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    g = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]  # expect: IG904 warning
    return ((g.norm(2, dim=1) - 1) ** 2).mean()


critic = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
for _ in range(3):
    real, fake = torch.randn(16, 2), torch.randn(16, 2) + 2
    optimizer.zero_grad()
    loss_critic = critic(fake).mean() - critic(real).mean()
    penalty = gradient_penalty(critic, real, fake)
    loss_critic.backward()
    optimizer.step()
    print(f"critic {loss_critic.item():.2f}, penalty {penalty:.2f}")
