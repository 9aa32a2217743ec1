"""The popular recipe for aligning the input gradient with a given direction: backward, x.grad, cosine similarity, stacked with the other losses.

Thread: discuss.pytorch.org, topic 13409, "Is it possible to use the gradient with respect to the input in the loss?"
"""

import torch
import torch.nn.functional as F
from torch import nn


class Alignment(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, gradient: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        flat = gradient.view(len(gradient), -1)
        return self.weight * (1 - F.cosine_similarity(flat, direction.flatten(1), dim=1)).mean()


model = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 1))
alignment = Alignment(0.5)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

for _ in range(4):
    x = torch.randn(16, 6, requires_grad=True)
    y, direction = torch.randn(16, 1), torch.randn(16, 6)
    prediction = model(x)
    prediction.sum().backward(retain_graph=True)  # expect: IG101 error
    direction_loss = alignment(x.grad.clone(), direction)
    losses = torch.stack([F.mse_loss(prediction, y), direction_loss])
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()
