"""R1 every second step, multiplied by its interval, in a backward of its own before the same step.

Thread: rosinality/stylegan2-pytorch#76
"""

import torch
import torch.nn.functional as F
from torch import nn

discriminator = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.99))
every, gamma = 2, 1.0
for step in range(5):
    real, fake = torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4)
    optimizer.zero_grad()
    loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()
    loss.backward()
    if step % every == 0:
        real = real.detach().requires_grad_(True)
        score = discriminator(real)
        (g,) = torch.autograd.grad(outputs=[score.sum()], inputs=[real], create_graph=True)
        r1 = g.square().sum([1, 2, 3])
        (gamma / 2 * every * r1 + 0 * score[:, 0]).mean().backward()
    optimizer.step()
