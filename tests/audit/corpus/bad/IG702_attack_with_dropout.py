"""Robust accuracy of a network with dropout: attacked in training mode, judged in evaluation mode.

Thread: locuslab/fast_adversarial#14
"""

import torch
import torch.nn.functional as F
from torch import nn


def attack(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epsilon: float) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    loss = F.cross_entropy(model(x), y)
    (g,) = torch.autograd.grad(loss, x)  # expect: IG702 warning
    return (x + epsilon * g.sign()).detach()


model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 3))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(2):
    x, y = torch.randn(32, 8), torch.randint(3, (32,))
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    adversarial = attack(model, x, y, 0.1)
    model.eval()
    with torch.no_grad():
        accuracy = (model(adversarial).argmax(1) == y).float().mean()
    print(f"robust accuracy {accuracy:.2f}")
    model.train()
