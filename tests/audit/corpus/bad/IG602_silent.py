"""A re-entrant checkpoint and backward(create_graph=True): nothing raises, and the input's gradient has no graph.

Thread: pytorch/pytorch#51743
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    x, y = torch.randn(16, 4, requires_grad=True), torch.randn(16, 1)
    output = checkpoint(model, x, use_reentrant=True)
    output.sum().backward(create_graph=True)  # expect: IG602 error
    slope = x.grad
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y) + 0.1 * slope.square().sum(1).mean()
    loss.backward()
    optimizer.step()
