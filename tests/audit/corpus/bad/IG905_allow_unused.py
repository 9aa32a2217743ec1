"""The error about an unused tensor, silenced by allow_unused; None is then taken for zero.

Thread: archinetai/smart-pytorch#5
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    output = model(x)
    leaf = x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(output.sum(), leaf, create_graph=True, allow_unused=True)  # expect: IG905 warning
    penalty = torch.zeros(()) if g is None else g.square().sum(1).mean()
    loss = nn.functional.mse_loss(output, y) + 0.1 * penalty
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
