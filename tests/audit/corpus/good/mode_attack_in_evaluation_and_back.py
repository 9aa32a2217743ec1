"""The attack looks for its perturbation in evaluation mode, and the mode from before is put back; validation does the same.

Thread: Harry24k/adversarial-attacks-pytorch#21
"""

import torch
import torch.nn.functional as F
from torch import nn


def fgsm(model: nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float = 0.03) -> torch.Tensor:
    training = model.training
    model.eval()
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
    model.train(training)
    return (x + eps * g.sign()).clamp(0, 1).detach()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(144, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model.train()
        x, y = torch.rand(8, 1, 8, 8), torch.randint(4, (8,))
        optimizer.zero_grad()
        F.cross_entropy(model(fgsm(model, x, y)), y).backward()
        optimizer.step()
        model.eval()
        accuracy = (model(fgsm(model, x, y)).argmax(1) == y).float().mean()
        print(f"robust accuracy {accuracy:.2f}")


main()
