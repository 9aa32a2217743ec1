"""A critic with BatchNorm under a penalty that speaks of each sample's gradient.

Thread: eriklindernoren/Keras-GAN#48
"""

import torch
from torch import nn


class Discriminator(nn.Module):
    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, 8, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 16, 4, 2, 1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 1, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x).view(-1)


def gp(disc: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    eps = torch.rand(real.shape[0], 1, 1, 1)
    x = (eps * real + (1 - eps) * fake).detach().requires_grad_(True)
    y = disc(x)
    g = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0].view(x.shape[0], -1)  # expect: IG401 warning
    return ((g.norm(2, dim=1) - 1) ** 2).mean()


def main() -> None:
    torch.manual_seed(0)
    disc = Discriminator()
    opt = torch.optim.Adam(disc.parameters(), lr=1e-4)
    for _ in range(3):
        real, fake = torch.rand(6, 1, 12, 12), torch.rand(6, 1, 12, 12)
        opt.zero_grad()
        loss = disc(fake).mean() - disc(real).mean() + 10 * gp(disc, real, fake)
        loss.backward()
        opt.step()


main()
