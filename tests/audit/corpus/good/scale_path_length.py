"""Path length regularisation of a generator: noise divided by the image's size, the root of each sample's sum, and the distance to a running mean.

Thread: rosinality/stylegan2-pytorch#32
"""

import math

import torch
from torch import nn


class PathLength:
    def __init__(self, decay: float = 0.01) -> None:
        self.decay, self.mean = decay, torch.zeros(())

    def __call__(self, images: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        noise = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (g,) = torch.autograd.grad((images * noise).sum(), latents, create_graph=True)
        lengths = torch.sqrt(g.pow(2).sum(2).mean(1))
        self.mean = (self.mean + self.decay * (lengths.mean() - self.mean)).detach()
        return (lengths - self.mean).pow(2).mean()


synthesis = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3 * 64), nn.Unflatten(1, (3, 8, 8)))
optimizer = torch.optim.Adam(synthesis.parameters(), lr=1e-3)
path_length, interval, weight = PathLength(), 4, 2.0
for _ in range(3):
    latents = torch.randn(6, 5, 8, requires_grad=True)
    images = synthesis(latents.mean(1))
    optimizer.zero_grad()
    (weight * interval * path_length(images, latents)).backward()
    optimizer.step()
