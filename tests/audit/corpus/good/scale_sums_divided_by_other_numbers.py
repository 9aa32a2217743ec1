"""Sums that are divided by other numbers than that of the samples, or by it after the gradient was taken: no mean is differentiated.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

TEMPERATURE = 4


def penalties(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_(True)
    output = model(x)
    loss = F.cross_entropy(output, y, reduction="sum")
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    (sharp,) = torch.autograd.grad(output.gather(1, y[:, None]).sum() / TEMPERATURE, x, create_graph=True)
    (undone,) = torch.autograd.grad(loss / x.shape[0] * x.shape[0], x, create_graph=True)
    return loss / x.size(0), g.square().sum(1).mean() + sharp.square().sum(1).sum() / x.size(0) + undone.norm(dim=1).mean()


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    loss, penalty = penalties(model, torch.randn(12, 10), torch.randint(5, (12,)))
    optimizer.zero_grad()
    (loss + 0.1 * penalty).backward()
    optimizer.step()
