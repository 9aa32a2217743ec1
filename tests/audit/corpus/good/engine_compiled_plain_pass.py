"""torch.compile for the plain passes, the module itself for the penalty.

Thread: pytorch/pytorch#91469
"""

import torch
from torch import nn

plain = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
critic = torch.compile(plain, backend="aot_eager")
optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
for _ in range(3):
    real, fake = torch.randn(8, 4), torch.randn(8, 4) + 1
    x = real.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(plain(x).sum(), x, create_graph=True)
    loss = critic(fake).mean() - critic(real).mean() + 10 * (g.norm(dim=1) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
