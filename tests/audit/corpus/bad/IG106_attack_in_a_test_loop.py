"""An attack called from a test loop where gradients are off.

Thread: open-mmlab/mmpretrain#1730
Raises: RuntimeError
"""

import torch
import torch.nn.functional as F
from torch import nn


def fgsm(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    images = images.clone().requires_grad_(True)
    F.cross_entropy(model(images), labels).backward()  # expect: IG106 error
    return (images + eps * images.grad.sign()).clamp(0, 1).detach()


@torch.no_grad()
def test(model: nn.Module, loader: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    right = sum(int((model(fgsm(model, x, y, 8 / 255)).argmax(1) == y).sum()) for x, y in loader)
    return right / sum(len(y) for _, y in loader)


model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
test(model, [(torch.rand(8, 6), torch.randint(3, (8,)))])
