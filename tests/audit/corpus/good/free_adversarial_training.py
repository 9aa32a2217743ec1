"""Free adversarial training: one backward serves both the parameters and the perturbation.

Thread: mahyarnajibi/FreeAdversarialTraining (one backward for both)
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
delta = torch.zeros(32, 8)
for _ in range(2):
    x, y = torch.rand(32, 8), torch.randint(3, (32,))
    for _ in range(3):
        noise = delta.clone().requires_grad_(True)
        loss = F.cross_entropy(model((x + noise).clamp(0, 1)), y)
        optimizer.zero_grad()
        loss.backward()
        delta = (delta + 0.03 * noise.grad.sign()).clamp(-0.03, 0.03)
        optimizer.step()
