"""Particles move along a score and away from each other (Stein variational), and an energy is trained on them.

Thread: written for the audit, after issue 19 of this project
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 1))
opt = torch.optim.Adam(net.parameters(), 1e-3)
particles = torch.randn(20, 2)
for _ in range(4):
    x = particles.requires_grad_(True)
    score = torch.autograd.grad(-net(x).sum() - 0.5 * x.pow(2).sum(), x)[0]
    k = torch.exp(-torch.cdist(x, x.detach()).pow(2))
    repulse = -torch.autograd.grad(k.sum(), x)[0]
    particles = (x + 0.1 * (k.detach() @ score + repulse) / len(x)).detach()
    loss = net(torch.randn(20, 2)).mean() - net(particles).mean() + 0.01 * net(particles).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
