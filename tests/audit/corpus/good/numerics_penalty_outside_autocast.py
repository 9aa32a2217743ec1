"""R1 with mixed precision: the penalty's pass and its gradient are computed in float32, outside autocast; the scaler has the sum.

Thread: NVIDIA/apex#873
"""

import torch
import torch.nn.functional as F
from torch import nn


class R1(nn.Module):
    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, discriminator: nn.Module, real: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            real = real.float().requires_grad_(True)
            (g,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
            return self.gamma / 2 * g.square().sum(dim=(1, 2, 3)).mean()


discriminator = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.99))
scaler, r1 = torch.amp.GradScaler("cpu", init_scale=256.0), R1()
for _ in range(3):
    real, fake = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = F.softplus(discriminator(fake)).mean() + F.softplus(-discriminator(real)).mean()
        loss = loss + r1(discriminator, real)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
