"""FGSM in evaluation mode, .grad emptied before training; images stay in [0, 1].

Thread: QData/TextAttack#457
"""

import torch
import torch.nn.functional as F
from torch import nn


def fgsm(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    training = model.training
    model.eval()
    images = images.clone().requires_grad_(True)
    F.cross_entropy(model(images), labels, reduction="sum").backward()
    adversarial = (images.detach() + epsilon * images.grad.sign()).clamp(0, 1)
    model.train(training)
    model.zero_grad()
    return adversarial


model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(3):
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(3, (8,))
    adversarial = fgsm(model, images, labels, 8 / 255)
    optimizer.zero_grad()
    F.cross_entropy(model(adversarial), labels).backward()
    optimizer.step()
