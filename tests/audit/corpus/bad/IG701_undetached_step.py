"""Adversarial training by one step along the normalised gradient, whose graph goes into the adversarial loss.

Thread: brownvc/R3GAN#12
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    x, y = torch.randn(16, 8, requires_grad=True), torch.randint(3, (16,))
    clean = F.cross_entropy(model(x), y, reduction="sum")
    (g,) = torch.autograd.grad(clean, x, create_graph=True)
    moved = x + 0.5 * F.normalize(g, dim=1)  # expect: IG701 note
    loss = F.cross_entropy(model(moved), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
