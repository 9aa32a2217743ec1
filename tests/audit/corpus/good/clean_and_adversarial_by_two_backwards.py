"""The losses of the clean and of the perturbed samples go back one after the other; the perturbation comes from autograd.grad.

Thread: caogang/wgan-gp#36 (several backwards that add up)
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    x, y = torch.rand(32, 8).requires_grad_(True), torch.randint(3, (32,))
    clean = F.cross_entropy(model(x), y)
    (g,) = torch.autograd.grad(clean, x, retain_graph=True)
    adversarial = (x + 0.03 * g.sign()).clamp(0, 1).detach()
    optimizer.zero_grad()
    (0.5 * clean).backward()
    (0.5 * F.cross_entropy(model(adversarial), y)).backward()
    optimizer.step()
