"""An attack's backward on its own forward pass adds its parameter gradients to those of the training loss. It can be meant; nobody says so.

Thread: P2333/Bag-of-Tricks-for-AT#8
"""

import torch
import torch.nn.functional as F
from torch import nn


def attack(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    F.cross_entropy(model(x), y).backward()  # expect: IG201 warning
    return (x + 0.03 * x.grad.sign()).clamp(0, 1).detach()


model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    x, y = torch.rand(32, 8), torch.randint(3, (32,))
    optimizer.zero_grad()
    adversarial = attack(model, x, y)
    F.cross_entropy(model(adversarial), y).backward()
    optimizer.step()
