"""The critic steps along its penalty and then along its loss, in each iteration; what is counted modulo a number is the log.

Thread: heykeetae/Self-Attention-GAN#27
"""

import torch
from torch import nn

critic = nn.Sequential(nn.Linear(3, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
optimizer = torch.optim.SGD(critic.parameters(), lr=1e-2)
log_every = 2
for step in range(4):
    real, fake = torch.randn(12, 3), torch.randn(12, 3) + 1
    alpha = torch.rand(12, 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    (g,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    optimizer.zero_grad()
    (10 * (g.norm(dim=1) - 1).square().mean()).backward()
    optimizer.step()
    optimizer.zero_grad()
    loss = critic(fake).mean() - critic(real).mean()
    loss.backward()
    optimizer.step()
    if (step + 1) % log_every == 0:
        print(loss.item())
