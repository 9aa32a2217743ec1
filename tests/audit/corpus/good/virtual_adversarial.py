"""Virtual adversarial training: the direction is a constant by power iteration, the divergence at it is the loss.

Thread: lyakaap/VAT-pytorch#8
"""

import torch
import torch.nn.functional as F
from torch import nn


def direction(model: nn.Module, x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    d = F.normalize(torch.randn_like(x), dim=1)
    for _ in range(1):
        d.requires_grad_(True)
        distance = F.kl_div(F.log_softmax(model(x + 1e-1 * d), 1), clean, reduction="batchmean")
        distance.backward()
        d = F.normalize(d.grad, dim=1)
        model.zero_grad()
    return d.detach()


model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(16, 8), torch.randint(3, (16,))
    with torch.no_grad():
        clean = F.softmax(model(x), 1)
    d = direction(model, x, clean)
    smoothness = F.kl_div(F.log_softmax(model(x + 0.5 * d), 1), clean, reduction="batchmean")
    loss = F.cross_entropy(model(x), y) + smoothness
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
