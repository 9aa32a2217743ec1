"""A flow along the gradient of a learned energy, unrolled: the parameters are trained through the steps, and the script says so.

Thread: brownvc/R3GAN#12
"""

import torch
from torch import nn

energy = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
for _ in range(3):
    x, target = torch.randn(16, 2), torch.randn(16, 2) + 2
    for _ in range(3):
        x = x if x.requires_grad else x.requires_grad_(True)
        (g,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
        x = x - 0.1 * g  # inputgrad: ignore[IG701] the steps are trained
    loss = (x - target).square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
