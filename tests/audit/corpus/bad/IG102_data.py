"""The norm's .data goes into the loss.

Thread: discuss.pytorch.org, topic 13409, "Is it possible to use the gradient with respect to the input in the loss?"
"""

import torch
from torch import nn


class Regularised(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        out = self.net(x)
        g = torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)[0]
        length = g.norm(dim=1).mean().data  # expect: IG102 error
        return nn.functional.mse_loss(out, y) + length


model = Regularised(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    optimizer.zero_grad()
    model.loss(torch.randn(8, 3), torch.randn(8, 1)).backward()
    optimizer.step()
