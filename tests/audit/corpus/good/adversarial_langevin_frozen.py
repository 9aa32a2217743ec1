"""An energy-based model: negatives by Langevin steps in [0, 1] while the parameters are frozen, and set free again for the loss.

Thread: NVlabs/VAEBM#2
"""

import torch
from torch import nn


def sample(energy: nn.Module, x: torch.Tensor, steps: int) -> torch.Tensor:
    for parameter in energy.parameters():
        parameter.requires_grad_(False)
    x = x.clone().requires_grad_(True)
    for _ in range(steps):
        (g,) = torch.autograd.grad(energy(x).sum(), x)
        x.data.add_(-0.1 * g + 0.05 * torch.randn_like(x))
    for parameter in energy.parameters():
        parameter.requires_grad_(True)
    return x.detach()


energy = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 1))
optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)
for _ in range(3):
    real = torch.rand(16, 6)
    fake = sample(energy, torch.rand(16, 6), 5)
    up, down = energy(real), energy(fake)
    loss = up.mean() - down.mean() + 0.1 * (up.square() + down.square()).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
