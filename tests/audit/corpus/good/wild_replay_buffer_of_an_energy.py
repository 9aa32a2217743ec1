"""An energy model with a buffer of samples, whose parameters are frozen while it samples.

Thread: written for the audit, after issue 19 of this project
"""

import torch
from torch import nn

energy = nn.Sequential(nn.Linear(2, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 1))
opt = torch.optim.Adam(energy.parameters(), 1e-3)
buffer = torch.randn(64, 2)


def sample(x):
    for p in energy.parameters():
        p.requires_grad_(False)
    x = x.clone()
    for _ in range(5):
        x.requires_grad_(True)
        (slope,) = torch.autograd.grad(energy(x).sum(), x)
        x = (x - 0.1 * slope.clamp(-0.1, 0.1) + 0.01 * torch.randn_like(x)).detach()
    for p in energy.parameters():
        p.requires_grad_(True)
    return x


for _ in range(4):
    rows = torch.randperm(64)[:16]
    negative = sample(buffer[rows])
    buffer[rows] = negative
    plus, minus = energy(torch.randn(16, 2) * 0.3 + 1), energy(negative)
    loss = plus.mean() - minus.mean() + 0.1 * (plus.pow(2) + minus.pow(2)).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
