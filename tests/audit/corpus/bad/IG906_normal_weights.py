"""WGAN-GP with interpolation weights from randn: half of the points lie outside of the segment.

Thread: keras-team/keras-io#624
"""

import torch
from torch import nn

critic = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
for _ in range(3):
    real, fake = torch.randn(16, 2), torch.randn(16, 2) + 2
    epsilon = torch.randn(16, 1)  # expect: IG906 warning
    difference = fake - real
    x = (real + epsilon * difference).requires_grad_(True)
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    loss = critic(fake).mean() - critic(real).mean() + 10 * ((g.norm(dim=1) - 1) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
