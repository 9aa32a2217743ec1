"""A multi-step attack by autograd.grad inside the training loop; the model is in evaluation mode while it attacks.

Thread: MadryLab/cifar10_challenge#22
"""

import torch
import torch.nn.functional as F
from torch import nn


def pgd(model: nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float = 0.03, steps: int = 3) -> torch.Tensor:
    delta = torch.empty_like(x).uniform_(-eps, eps)
    for _ in range(steps):
        delta.requires_grad_(True)
        loss = F.cross_entropy(model(x + delta), y)
        (g,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + 0.01 * g.sign()).clamp(-eps, eps)
    return (x + delta).clamp(0, 1).detach()


model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.rand(32, 8), torch.randint(3, (32,))
    model.eval()
    adversarial = pgd(model, x, y)
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(adversarial), y)
    loss.backward()
    optimizer.step()
