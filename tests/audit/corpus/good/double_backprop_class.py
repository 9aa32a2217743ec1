"""Double backpropagation in a loss class: the gradient of the summed cross entropy, its squared norm a sample.

Thread: pytorch/pytorch#7714
"""

import torch
import torch.nn.functional as F
from torch import nn


class DoubleBackprop(nn.Module):
    def __init__(self, model: nn.Module, weight: float = 0.1) -> None:
        super().__init__()
        self.model, self.weight = model, weight

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = x.detach().clone().requires_grad_(True)
        losses = F.cross_entropy(self.model(x), y, reduction="none")
        (g,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        penalty = g.flatten(1).square().sum(1).mean()
        self.last = {"loss": losses.detach().mean(), "penalty": penalty.item()}
        return losses.mean() + self.weight * penalty


model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Softplus(), nn.Linear(16, 5))
criterion = DoubleBackprop(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    loss = criterion(torch.rand(16, 1, 4, 4), torch.randint(5, (16,)))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
