"""A critic that judges patches: the mean over each image's patches, the sum over images, and one norm for each image.

Thread: junyanz/pytorch-CycleGAN-and-pix2pix#1201
"""

import torch
from torch import nn


class PatchCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def gradient_penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(real.shape[0], 1, 1, 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    patches = critic(mixed)
    scores = patches.mean(dim=(1, 2, 3))
    gradient = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=True)[0]
    return ((gradient.reshape(real.shape[0], -1).norm(2, dim=1) - 1) ** 2).mean()


critic = PatchCritic()
optimizer = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
for _ in range(3):
    real, fake = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)
    loss = critic(fake).mean() - critic(real).mean() + 10.0 * gradient_penalty(critic, real, fake)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
