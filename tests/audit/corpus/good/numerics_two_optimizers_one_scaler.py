"""A GAN under one scaler with two optimisers: R1 divides the scaled gradient by the scale, and each step unscales its own.

Thread: NVIDIA/apex#215
"""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
discriminator = nn.Sequential(nn.Linear(6, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-4)
g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
for _ in range(3):
    real = torch.randn(8, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        fake = generator(torch.randn(8, 4)).detach()
        scores = discriminator(real)
        d_loss = F.softplus(-scores).mean() + F.softplus(discriminator(fake)).mean()
    gradient = torch.autograd.grad(scaler.scale(scores.float().sum()), real, create_graph=True)[0] / scaler.get_scale()
    d_loss = d_loss + 5 * gradient.square().sum(1).mean()
    d_optimizer.zero_grad()
    scaler.scale(d_loss).backward()
    scaler.step(d_optimizer)
    with torch.autocast("cpu", dtype=torch.float16):
        g_loss = F.softplus(-discriminator(generator(torch.randn(8, 4)))).mean()
    g_optimizer.zero_grad()
    scaler.scale(g_loss).backward()
    scaler.step(g_optimizer)
    scaler.update()
