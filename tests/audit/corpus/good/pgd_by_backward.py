"""A multi-step attack by backward: its own .grad is emptied between the steps, the parameters' before training.

Thread: locuslab/fast_adversarial#26
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    x, y = torch.rand(32, 8), torch.randint(3, (32,))
    delta = torch.zeros_like(x, requires_grad=True)
    for _ in range(3):
        loss = F.cross_entropy(model(x + delta), y)
        loss.backward()
        g = delta.grad.detach()
        delta.data = (delta + 0.01 * g.sign()).clamp(-0.03, 0.03)
        delta.data = (x + delta).clamp(0, 1) - x
        delta.grad.zero_()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x + delta.detach()), y)
    loss.backward()
    optimizer.step()
