"""Forces from positions.grad, which still holds the gradient that the loss before left there.

Thread: lab-cosmo/torch-pme#188
"""

import torch
from torch import nn

energy = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
positions = torch.randn(10, 3, requires_grad=True)
wanted = torch.randn(())
for _ in range(4):
    loss = (energy(positions).sum() - wanted).square()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    energy(positions).sum().backward()
    forces = -positions.grad  # expect: IG202 error
    print(forces.norm().item())
