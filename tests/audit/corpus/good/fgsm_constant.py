"""Adversarial training by one gradient step: the gradient is a constant by definition, and the parameters' share of its backward is emptied.

Thread: P2333/Bag-of-Tricks-for-AT#8
"""

import torch
import torch.nn.functional as F
from torch import nn


def fgsm(model: nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.clone().detach().requires_grad_(True)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    return (x + eps * x.grad.sign()).clamp(0, 1).detach()


def main() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        x, y = torch.rand(32, 8), torch.randint(3, (32,))
        adversarial = fgsm(model, x, y, 8 / 255)
        optimizer.zero_grad()
        loss = 0.5 * F.cross_entropy(model(x), y) + 0.5 * F.cross_entropy(model(adversarial), y)
        loss.backward()
        optimizer.step()


main()
