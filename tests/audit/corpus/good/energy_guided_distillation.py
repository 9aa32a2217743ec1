"""A critic's input gradient drives a generator: the gradient is a constant on purpose, and multiplied into the loss.

Thread: ashawkey/stable-dreamfusion#335
"""

import torch
from torch import nn

energy = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).requires_grad_(False)
generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3)
for _ in range(4):
    samples = generator(torch.randn(32, 4))
    point = samples.detach().requires_grad_(True)
    (score,) = torch.autograd.grad(energy(point).sum(), point)
    loss = (score * samples).sum(1).mean() + 1e-3 * samples.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
