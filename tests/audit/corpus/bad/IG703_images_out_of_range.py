"""FGSM on images in [0, 1], without the clamp.

Thread: 1Konny/FGSM#4
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(3, (8,))
    images.requires_grad_(True)
    F.cross_entropy(model(images), labels).backward()
    adversarial = images.detach() + 0.1 * images.grad.sign()  # expect: IG703 note
    optimizer.zero_grad()
    F.cross_entropy(model(adversarial), labels).backward()
    optimizer.step()
