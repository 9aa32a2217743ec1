"""The generator's backward fills the critic's gradients, which are emptied before anything steps along them.

Thread: coqui-ai/Trainer#76
"""

import torch
import torch.nn.functional as F
from torch import nn

generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))
discriminator = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 1))
opt_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.99))
opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.99))
for _ in range(4):
    z, real = torch.randn(16, 4), torch.randn(16, 6)
    opt_g.zero_grad()
    fake = generator(z)
    F.softplus(-discriminator(fake)).mean().backward()
    opt_d.zero_grad()
    opt_g.step()
    real = real.detach().requires_grad_(True)
    logits = discriminator(real)
    loss = F.softplus(-logits).mean() + F.softplus(discriminator(fake.detach())).mean()
    (g,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    (loss + 0.5 * 0.1 * g.square().sum(1).mean()).backward()
    opt_d.step()
