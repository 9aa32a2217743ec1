"""A penalty that its own function divides by the batch size, and the training step too.

Thread: none; written for the kind
"""

import torch
from torch import nn


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 24), nn.SiLU(), nn.Linear(24, 1))

    def penalty(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        return (g.norm(dim=1) - 1).square().sum() / len(x)


def main(batch_size: int = 9) -> None:
    torch.manual_seed(0)
    critic = Critic()
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for _ in range(3):
        real, fake = torch.randn(batch_size, 6), torch.randn(batch_size, 6) + 1
        penalty = 10 * critic.penalty(real) / batch_size  # expect: IG306 warning
        loss = critic.net(fake).mean() - critic.net(real).mean() + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
