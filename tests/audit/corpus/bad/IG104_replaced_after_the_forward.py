"""The input is told to require a gradient after the forward pass.

Thread: autonomousvision/giraffe#44
Raises: RuntimeError
"""

import torch
from torch import nn


def compute_grad2(score: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    x = x.requires_grad_(True)
    gradient = torch.autograd.grad(outputs=score.sum(), inputs=x, create_graph=True)[0]  # expect: IG104 error
    return gradient.pow(2).flatten(1).sum(1)


discriminator = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
optimizer = torch.optim.RMSprop(discriminator.parameters(), lr=1e-4)
real = torch.randn(8, 4)
score = discriminator(real)
loss = nn.functional.softplus(-score).mean()
optimizer.zero_grad()
loss.backward(retain_graph=True)
(10 * compute_grad2(score, real).mean()).backward()
optimizer.step()
