"""Sums over outputs that are meant: the log probabilities of all classes (right for the right reasons), and a random projection of the logits.

Thread: kuc2477/pytorch-wgan-gp#1
"""

import torch
import torch.nn.functional as F
from torch import nn


def right_reasons(logits: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    (g,) = torch.autograd.grad(F.log_softmax(logits, dim=1).sum(), x, create_graph=True)
    return (mask * g).square().sum(1).mean()


def jacobian(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    v = F.normalize(torch.randn_like(logits), dim=1)
    (g,) = torch.autograd.grad(logits, x, v, create_graph=True)
    return logits.shape[1] * g.square().sum(1).mean() / 2


model = nn.Sequential(nn.Linear(15, 30), nn.Tanh(), nn.Linear(30, 5))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for _ in range(3):
    x, y = torch.randn(12, 15, requires_grad=True), torch.randint(5, (12,))
    mask = (torch.rand(12, 15) < 0.3).float()
    logits = model(x)
    loss = F.cross_entropy(logits, y) + 0.1 * right_reasons(logits, x, mask) + 0.01 * jacobian(logits, x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
