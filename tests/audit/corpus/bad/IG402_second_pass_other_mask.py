"""The loss takes one forward pass and the penalty another of the same data, each with its own dropout mask.

Thread: enricivi/adversarial_training_methods#4
"""

import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(20, 40), nn.Linear(40, 3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.drop(torch.tanh(self.first(x))))


def input_gradient_penalty(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.detach().clone().requires_grad_(True)
    loss = F.cross_entropy(model(x), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)  # expect: IG402 warning
    return gradient.square().sum(dim=1).mean()


def main() -> None:
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        x, y = torch.randn(32, 20), torch.randint(3, (32,))
        loss = F.cross_entropy(model(x), y) + 0.1 * input_gradient_penalty(model, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
