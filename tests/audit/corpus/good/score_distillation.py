"""Score distillation: the noise residual is a gradient by design, a constant that is multiplied with the image.

Thread: ashawkey/stable-dreamfusion#335
"""

import torch
from torch import nn


class Renderer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        return self.field(coordinates).view(1, 1, 4, 4)


denoiser = nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False)
renderer = Renderer()
optimizer = torch.optim.Adam(renderer.parameters(), lr=1e-2)
coordinates = torch.rand(16, 2)
for _ in range(4):
    latents = renderer(coordinates)
    noise = torch.randn_like(latents)
    with torch.no_grad():
        residual = denoiser(0.7 * latents + 0.7 * noise) - noise
    gradient = torch.nan_to_num(0.5 * residual)
    target = (latents - gradient).detach()
    loss = 0.5 * nn.functional.mse_loss(latents, target, reduction="sum") / latents.shape[0]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
