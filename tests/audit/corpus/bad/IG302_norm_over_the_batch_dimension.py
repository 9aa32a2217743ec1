"""The gradients are stacked, which puts a dimension before the batch, and ``norm(dim=1)`` then runs over the batch.

Thread: jvanvugt/pytorch-domain-adaptation#8
"""

import torch
from torch import nn


def gradient_penalty(critic: nn.Module, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(source.shape[0], 1)
    interpolates = (source + alpha * (target - source)).requires_grad_()
    preds = critic(interpolates)
    gradients = torch.stack(torch.autograd.grad(preds, [interpolates], torch.ones_like(preds), retain_graph=True, create_graph=True))
    gradient_norm = gradients.norm(2, dim=1)  # expect: IG302 error
    return ((gradient_norm - 1) ** 2).mean()


def main() -> None:
    torch.manual_seed(0)
    features = nn.Linear(10, 7)
    critic = nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Linear(20, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for _ in range(3):
        with torch.no_grad():
            source, target = features(torch.randn(12, 10)), features(torch.randn(12, 10) + 1)
        wasserstein = critic(source).mean() - critic(target).mean()
        cost = -wasserstein + 10 * gradient_penalty(critic, source, target)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()


main()
