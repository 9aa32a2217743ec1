"""A GAN: the generator's backward fills the critic's .grad, and nobody empties it before the critic's step.

Thread: Lightning-AI/pytorch-lightning#591
"""

import torch
import torch.nn.functional as F
from torch import nn

generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
opt_g = torch.optim.Adam(generator.parameters(), lr=1e-3)
opt_d = torch.optim.Adam(critic.parameters(), lr=1e-3)
for _ in range(4):
    real, noise = torch.randn(16, 2), torch.randn(16, 4)
    opt_g.zero_grad()
    F.softplus(-critic(generator(noise))).mean().backward()
    opt_g.step()

    real.requires_grad_(True)
    scores = critic(real)
    (g,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
    loss = F.softplus(-scores).mean() + F.softplus(critic(generator(noise).detach())).mean()
    (loss + 5 * g.square().sum(1).mean()).backward()
    opt_d.step()  # expect: IG901 warning
