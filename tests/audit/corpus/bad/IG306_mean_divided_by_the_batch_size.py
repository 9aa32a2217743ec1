"""A gradient penalty that is averaged and then divided by the batch size, which is what the line did while it was a sum.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn


def penalty(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(model(x).logsumexp(1).sum(), x, create_graph=True)
    return g.flatten(1).norm(dim=1).square().mean() / x.shape[0]  # expect: IG306 warning


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    x, y = torch.randn(12, 10), torch.randint(5, (12,))
    loss = F.cross_entropy(model(x), y) + 0.1 * penalty(model, x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
