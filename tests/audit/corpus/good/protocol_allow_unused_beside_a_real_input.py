"""Sensitivity to several inputs, one of which this head does not use: allow_unused=True is right, and zero is its derivative.

Thread: prolearner/hypertorch#3
"""

import torch
from torch import nn


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.out = nn.Linear(6, 16), nn.Linear(16, 1)

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.image(image)))


model = Head()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    image, text, y = torch.randn(8, 6, requires_grad=True), torch.randn(8, 4, requires_grad=True), torch.randn(8, 1)
    output = model(image, text)
    gradients = torch.autograd.grad(output.sum(), (image, text), create_graph=True, allow_unused=True)
    penalty = sum(g.square().sum(1).mean() for g in gradients if g is not None)
    optimizer.zero_grad()
    (nn.functional.mse_loss(output, y) + 0.01 * penalty).backward()
    optimizer.step()
