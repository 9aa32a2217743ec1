"""The model is put in evaluation mode for the attack on the validation batch, and nobody puts it back.

Thread: Harry24k/adversarial-attacks-pytorch#21
"""

import torch
import torch.nn.functional as F
from torch import nn


def robust_accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float = 0.03) -> float:
    model.eval()  # expect: IG404 warning
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
    with torch.no_grad():
        return (model((x + eps * g.sign()).clamp(0, 1)).argmax(1) == y).float().mean().item()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    held_out, labels = torch.rand(20, 16), torch.randint(4, (20,))
    model.train()
    for step in range(4):
        x, y = torch.rand(20, 16), torch.randint(4, (20,))
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        print(f"step {step}: robust accuracy {robust_accuracy(model, held_out, labels):.2f}")


main()
