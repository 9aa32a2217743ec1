"""The penalty's value is added in place of the penalty.

Thread: facebookresearch/DomainBed#50 (the same effect by another way)
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range(4):
    x, y = torch.randn(32, 4, requires_grad=True), torch.randn(32, 1)
    out = model(x)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    penalty = g.norm(dim=1).square().mean().item()  # expect: IG102 error
    loss = nn.functional.mse_loss(out, y) + 0.1 * penalty
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
