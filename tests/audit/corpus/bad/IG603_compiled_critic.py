"""A critic under torch.compile with a gradient penalty: compiled code has a first derivative only.

Thread: pytorch/pytorch#91469
Raises: RuntimeError
"""

import torch
from torch import nn


def penalty(critic: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (g.norm(dim=1) - 1).square().mean()


plain = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
critic = torch.compile(plain, backend="aot_eager")
optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
for _ in range(2):
    real, fake = torch.randn(8, 4), torch.randn(8, 4) + 1
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty(critic, real)
    optimizer.zero_grad()
    loss.backward()  # expect: IG603 error
    optimizer.step()
