"""Four micro-batches, each with its penalty, before one step; .grad is emptied after the step.

Thread: NVlabs/stylegan2#9
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
rounds = 4
for number in range(12):
    x, y = torch.randn(8, 4, requires_grad=True), torch.randn(8, 1)
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    loss = nn.functional.mse_loss(output, y) + 0.1 * g.square().sum(1).mean()
    (loss / rounds).backward()
    if (number + 1) % rounds == 0:
        optimizer.step()
        optimizer.zero_grad()
