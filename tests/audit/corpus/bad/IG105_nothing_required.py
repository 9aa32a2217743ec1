"""The penalty's mixed images are not told to require a gradient.

Thread: podgorskiy/ALAE#55
Raises: RuntimeError
"""

import torch
from torch import autograd, nn


def penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    weight = torch.rand(real.size(0), 1)
    mixed = weight * real + (1 - weight) * fake
    score = critic(mixed)
    gradient = autograd.grad(score, mixed, torch.ones_like(score), create_graph=True, retain_graph=True)[0]  # expect: IG105 error
    return ((gradient.norm(2, dim=1) - 1) ** 2).mean()


critic = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
for _ in range(4):
    real, fake = torch.randn(8, 4), torch.randn(8, 4)
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty(critic, real, fake)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
