"""The scaled loss goes back first and is unscaled; then the penalty goes back in its own scale, and the step divides nothing again.

Thread: pytorch/pytorch#25081
"""

import torch
from torch import nn


def penalty(critic: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return g.square().sum(1).mean()


def main() -> None:
    critic = nn.Sequential(nn.Linear(5, 24), nn.SiLU(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(3):
        real, fake = torch.randn(16, 5), torch.randn(16, 5) + 1
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = critic(fake).mean() - critic(real).mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        (5 * penalty(critic, real)).backward()
        scaler.step(optimizer)
        scaler.update()


main()
