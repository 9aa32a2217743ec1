"""A multi-step attack whose delta.grad is never emptied: each step follows the sum of all gradients so far.

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
        step = 0.01 * delta.grad.detach().sign()  # expect: IG202 error
        delta.data = (delta + step).clamp(-0.03, 0.03).data
    optimizer.zero_grad()
    F.cross_entropy(model(x + delta.detach()), y).backward()
    optimizer.step()
