"""The passes that only look for the perturbation run in training mode, and move BatchNorm's running statistics each time.

Thread: lyakaap/VAT-pytorch#8
"""

import torch
import torch.nn.functional as F
from torch import nn


def perturbation(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 3, radius: float = 0.1) -> torch.Tensor:
    delta = torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_(True)
        loss = F.cross_entropy(model(x + delta), y)
        (g,) = torch.autograd.grad(loss, delta)  # expect: IG403 warning
        delta = (delta.detach() + 0.05 * g.sign()).clamp(-radius, radius)
    return delta


class Loop:
    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def run(self, batches: int) -> None:
        self.model.train()
        for _ in range(batches):
            x, y = torch.rand(8, 3, 8, 8), torch.randint(5, (8,))
            adversarial = (x + perturbation(self.model, x, y)).clamp(0, 1)
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(adversarial), y).backward()
            self.optimizer.step()


Loop().run(3)
