"""Gradients of zero are met by a small number inside the root, and in the second term by torch's own norm, whose derivative there is 0.

Thread: keras-team/keras-io#910
"""

import torch
from torch import nn


def roots(critic: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return torch.sqrt(g.square().sum(1) + 1e-12), g.norm(dim=1)


critic = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))
with torch.no_grad():
    critic[0].bias.fill_(-0.5)
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
for _ in range(3):
    x = torch.cat([torch.zeros(4, 3), torch.randn(28, 3)]).requires_grad_()
    rooted, normed = roots(critic, x)
    loss = critic(x).mean() + 5 * (rooted - 1).square().mean() + 5 * normed.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    assert all(bool(p.isfinite().all()) for p in critic.parameters())
