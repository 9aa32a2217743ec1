"""The derivative of a network's output in its input, by the sum over the rows: each row depends on its own input alone, so the sum mixes nothing.

Thread: discuss.pytorch.org, topic 177249, "Avoid the sum from autograd.grad"
"""

import torch
from torch import nn


class Solution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def derivative(u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(u.sum(), x, create_graph=True)[0]


def main() -> None:
    net = Solution()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(5):
        x = torch.rand(64, 1, requires_grad=True)
        u = net(x)
        u_x = derivative(u, x)
        u_xx = derivative(u_x, x)
        residual = u_xx + torch.pi**2 * torch.sin(torch.pi * x)
        loss = (residual**2).mean() + net(torch.tensor([[0.0], [1.0]])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")


main()
