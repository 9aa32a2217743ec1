"""Virtual adversarial training with dropout on: the clean and the perturbed output come from different masks, so their divergence is mostly the masks'.

Thread: enricivi/adversarial_training_methods#4
"""

import torch
import torch.nn.functional as F
from torch import nn


def unit(d: torch.Tensor) -> torch.Tensor:
    return d / (d.flatten(1).norm(dim=1, keepdim=True) + 1e-8)


def vat_loss(model: nn.Module, x: torch.Tensor, xi: float = 0.1, eps: float = 1.0) -> torch.Tensor:
    with torch.no_grad():
        clean = F.softmax(model(x), dim=1)
    d = unit(torch.randn_like(x)).requires_grad_()
    distance = F.kl_div(F.log_softmax(model(x + xi * d), dim=1), clean, reduction="batchmean")
    (g,) = torch.autograd.grad(distance, d)
    perturbed = F.log_softmax(model(x + eps * unit(g)), dim=1)
    return F.kl_div(perturbed, clean, reduction="batchmean")  # expect: IG402 warning


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Dropout(0.3), nn.Linear(30, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        x, y = torch.randn(24, 10), torch.randint(4, (24,))
        loss = F.cross_entropy(model(x), y) + vat_loss(model, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
