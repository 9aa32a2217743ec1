"""BatchNorm is in evaluation mode for the penalty's own pass, and back in training mode for the loss.

Thread: eriklindernoren/Keras-GAN#48
"""

from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation(module: nn.Module):
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


def penalty(critic: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    with evaluation(critic):
        (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return g.flatten(1).norm(dim=1).square().mean()


def main() -> None:
    critic = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(144, 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
    for _ in range(3):
        real, fake = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)
        loss = nn.functional.softplus(critic(fake)).mean() + nn.functional.softplus(-critic(real)).mean() + 5 * penalty(critic, real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
