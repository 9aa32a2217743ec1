"""Gradient accumulation with a gradient penalty: each micro-batch its own penalty, all divided by their number.

Thread: NVlabs/stylegan2#9
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
every = 3
data = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(10)]
for _ in range(2):
    optimizer.zero_grad()
    for i, (x, y) in enumerate(data):
        x = x.clone().requires_grad_(True)
        out = model(x)
        (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        loss = nn.functional.mse_loss(out, y) + 0.1 * (g.norm(dim=1) - 1).square().mean()
        (loss / every).backward()
        if (i + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
