"""A critic's one-sided penalty at points by torch.lerp, from the square root of a sum; the largest excess is printed.

Thread: written for the audit, after issue 19 of this project
"""

import torch
import torch.nn.functional as F
from torch import nn

critic, generator = nn.Sequential(nn.Linear(4, 24), nn.LeakyReLU(), nn.Linear(24, 24), nn.LeakyReLU(), nn.Linear(24, 1)), nn.Linear(2, 4)
opt = torch.optim.Adam(critic.parameters(), 1e-4)
for _ in range(4):
    real, fake = torch.randn(16, 4), generator(torch.randn(16, 2)).detach()
    points = torch.lerp(real, fake, torch.rand(16, 1)).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    excess = (slopes.pow(2).sum(1) + 1e-12).sqrt() - 1
    loss = critic(fake).mean() - critic(real).mean() + 10 * F.relu(excess).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(excess.abs().max().item())
