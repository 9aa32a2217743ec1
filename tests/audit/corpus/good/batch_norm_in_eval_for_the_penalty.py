"""A critic with BatchNorm: it is put in evaluation mode for the penalty, so that each sample's gradient is its own.

Thread: LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch#3
"""

import torch
from torch import nn


def penalty(critic: nn.Module, mixed: torch.Tensor) -> torch.Tensor:
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.BatchNorm1d)]
    for layer in layers:
        layer.eval()
    mixed = mixed.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    for layer in layers:
        layer.train()
    return (g.norm(dim=1) - 1).square().mean()


critic = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
for _ in range(4):
    real, fake = torch.randn(16, 4) + 1, torch.randn(16, 4)
    alpha = torch.rand(16, 1)
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty(critic, alpha * real + (1 - alpha) * fake)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
