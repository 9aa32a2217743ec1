"""A critic with dropout sees real, generated and mixed samples in three passes: other data in each, so other masks are no fault.

Thread: caogang/wgan-gp#36
"""

import torch
from torch import nn

critic = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(32, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
one = torch.tensor(1.0)
for _ in range(3):
    real, fake = torch.randn(16, 8), torch.randn(16, 8) - 1
    optimizer.zero_grad()
    critic(real).mean().backward(-one)
    critic(fake).mean().backward(one)
    alpha = torch.rand(16, 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_()
    scores = critic(mixed)
    (g,) = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=True)
    (10 * (g.norm(dim=1) - 1).square().mean()).backward()
    optimizer.step()
