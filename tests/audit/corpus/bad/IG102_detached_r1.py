"""R1 on a detached gradient, so that it is "not minimised through the second order".

Thread: brownvc/R3GAN#20
"""

import torch
import torch.nn.functional as F
from torch import nn


def r1(score: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    gradient = gradient.detach()  # expect: IG102 error
    return gradient.square().flatten(1).sum(1)


discriminator = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-4)
for _ in range(4):
    real, fake = torch.randn(16, 8, requires_grad=True), torch.randn(16, 8)
    real_score = discriminator(real)
    adversarial = F.softplus(discriminator(fake)) + F.softplus(-real_score)
    penalty = r1(real_score, real)
    loss = (adversarial.view(-1) + 0.5 * penalty).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
