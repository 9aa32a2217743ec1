"""A critic with GroupNorm and InstanceNorm, whose samples do not meet; the generator keeps its BatchNorm.

Thread: kongyanye/cwgan-gp#6
"""

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 1, 3, padding=1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.net(z))


critic = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.SiLU(), nn.Flatten(), nn.Linear(128, 1)
)
generator = Generator()
d_optimizer, g_optimizer = (torch.optim.Adam(m.parameters(), lr=1e-4) for m in (critic, generator))
for _ in range(3):
    real, z = torch.rand(8, 1, 8, 8), torch.randn(8, 6)
    with torch.no_grad():
        fake = generator(z)
    alpha = torch.rand(8, 1, 1, 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_()
    gradient = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)[0]
    d_loss = critic(fake).mean() - critic(real).mean() + 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_loss = -critic(generator(z)).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
