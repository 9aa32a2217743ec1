"""Sample weights from the input gradient of the loss's own pass, as constants; the critic's real and generated batches each move the statistics once.

Thread: ashawkey/stable-dreamfusion#335
"""

import torch
import torch.nn.functional as F
from torch import nn


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.LeakyReLU(0.2), nn.Linear(24, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).squeeze(1)


discriminator = Discriminator()
optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
for _ in range(3):
    real, fake = torch.randn(16, 6, requires_grad=True), torch.randn(16, 6) + 1
    scores, generated = discriminator(real), discriminator(fake)
    (g,) = torch.autograd.grad(scores.sum(), real, retain_graph=True)
    weights = (1 + g.norm(dim=1)).reciprocal()
    loss = (weights * F.softplus(-scores)).mean() + F.softplus(generated).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
