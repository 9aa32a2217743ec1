"""The norm as the root of a sum, without anything inside: samples whose units are all off have gradient zero, and everything becomes NaN.

Thread: keras-team/keras-io#910
"""

import torch
from torch import nn


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(3, 16), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(x)))


def gradient_norm(critic: nn.Module, x: torch.Tensor) -> torch.Tensor:
    g = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return torch.sqrt(torch.sum(torch.square(g), dim=1))  # expect: IG501 error


def main() -> None:
    torch.manual_seed(0)
    critic = Critic()
    with torch.no_grad():
        critic.hidden.bias.fill_(-1.0)  # most units are off near the origin
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for _ in range(3):
        x = (0.3 * torch.randn(32, 3)).requires_grad_()
        real = torch.randn(32, 3)
        loss = critic(x).mean() - critic(real).mean() + 10 * ((gradient_norm(critic, x) - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("parameters finite:", all(bool(p.isfinite().all()) for p in critic.parameters()))


main()
