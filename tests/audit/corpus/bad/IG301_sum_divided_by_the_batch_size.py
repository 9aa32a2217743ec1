"""A critic's penalty from scores that are summed and divided by the batch size: a mean in two steps, so each norm is pulled to N.

Thread: none; written for the kind
"""

import torch
from torch import nn


def penalty(critic: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    pred = critic(x)
    (g,) = torch.autograd.grad(pred.sum() / len(x), x, create_graph=True)  # expect: IG301 error
    return ((g.norm(dim=1) - 1) ** 2).mean()


def main() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(6, 32), nn.Softplus(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for _ in range(3):
        real, fake = torch.randn(24, 6), torch.randn(24, 6) + 1
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty(critic, real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
