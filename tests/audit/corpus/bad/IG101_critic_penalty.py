"""A WGAN-GP loop with two optimisers whose penalty forgets create_graph: the critic trains on the Wasserstein term alone.

Thread: ooples/AiDotNet#1844
"""

import torch
from torch import nn


def gradient_penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    alpha = torch.rand(len(real), 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    score = critic(mixed)
    gradients = torch.autograd.grad(outputs=score, inputs=mixed, grad_outputs=torch.ones_like(score), retain_graph=True)[0]  # expect: IG101 error
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def main() -> None:
    generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    opt_g = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.0, 0.9))
    opt_d = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.0, 0.9))
    for i in range(6):
        real, z = torch.randn(32, 2) + 2, torch.randn(32, 4)
        opt_d.zero_grad()
        fake = generator(z).detach()
        loss_d = critic(fake).mean() - critic(real).mean()
        loss_d = loss_d + 10 * gradient_penalty(critic, real, fake)
        loss_d.backward()
        opt_d.step()
        if i % 2 == 1:
            opt_g.zero_grad()
            loss_g = -critic(generator(z)).mean()
            loss_g.backward()
            opt_g.step()


main()
