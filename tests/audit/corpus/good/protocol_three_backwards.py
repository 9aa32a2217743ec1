"""A critic's loss in three backward passes, real, fake and penalty, that add up before one step.

Thread: caogang/wgan-gp#36
"""

import torch
from torch import nn

critic = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
opt_d = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.5, 0.9))
opt_g = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.9))
one = torch.tensor(1.0)
for _ in range(3):
    for parameter in critic.parameters():
        parameter.requires_grad = True
    for _ in range(2):
        critic.zero_grad()
        real, fake = torch.randn(16, 2), generator(torch.randn(16, 4)).detach()
        critic(real).mean().backward(-one)
        critic(fake).mean().backward(one)
        alpha = torch.rand(16, 1).expand(16, 2)
        x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        scores = critic(x)
        g = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True, retain_graph=True)[0]
        (10 * ((g.norm(2, dim=1) - 1) ** 2).mean()).backward()
        opt_d.step()
    for parameter in critic.parameters():
        parameter.requires_grad = False
    generator.zero_grad()
    critic(generator(torch.randn(16, 4))).mean().backward(-one)
    opt_g.step()
