"""Double backpropagation from a loss with reduction="sum": each row is the gradient of that sample's own loss.

Thread: pytorch/pytorch#7714
"""

import torch
import torch.nn.functional as F
from torch import nn


def penalty(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_(True)
    loss = F.cross_entropy(model(x), y, reduction="sum")
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    return loss / len(x), g.pow(2).flatten(1).sum(1).mean()


def main() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss, extra = penalty(model, torch.randn(16, 1, 8, 8), torch.randint(5, (16,)))
        optimizer.zero_grad()
        (loss + 0.1 * extra).backward()
        optimizer.step()


main()
