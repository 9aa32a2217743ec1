"""WGAN-GP on 2-D points (Gulrajani et al. 2017): the same GradientNorm, with a centre and at another place.

Run: python examples/critic_penalty.py [PICTURE]
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from torch import Tensor, nn

import inputgrad as ig


def mlp(features: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, outputs))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a − b| − E|a − a′| − E|b − b′|: 0 for equal distributions."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def main(picture: Path | None = None, rounds: int = 300) -> dict[str, float]:
    torch.manual_seed(0)
    points = torch.tensor(make_moons(2000, noise=0.05, random_state=0)[0]).float()
    generator, critic = mlp(2, 2), mlp(2, 1)
    generator_steps = torch.optim.Adam(generator.parameters(), lr=3e-3, betas=(0.0, 0.9))
    critic_steps = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.0, 0.9))

    # The critic's loss is E D(fake) − E D(real) + λ · E (‖∂D/∂x̂‖ − 1)², x̂ between real and fake. The fakes come as the
    # target. The paper takes λ = 10 for images; a toy problem does better with less.
    penalty = ig.GradientNorm(center=1, power=2, at=ig.Interpolate(lambda batch: batch.target))
    criterion = ig.InputGradientLoss(lambda output, _fake: -output.mean(), 1.0 * penalty)

    before = energy_distance(points, generator(torch.randn(2000, 2)).detach())
    for _ in range(rounds):
        for _ in range(5):
            real = points[torch.randint(len(points), (128,))]
            fake = generator(torch.randn(128, 2)).detach()
            loss = criterion(critic, real, fake) + critic(fake).mean()
            critic_steps.zero_grad()
            loss.backward()
            critic_steps.step()
        generator_steps.zero_grad()
        (-critic(generator(torch.randn(128, 2))).mean()).backward()
        generator_steps.step()

    made = generator(torch.randn(2000, 2)).detach()
    step = criterion.evaluate(critic, points, made)
    figures = {"before": before, "after": energy_distance(points, made), "off_one": float(step.parts["gradient_norm"]) ** 0.5}
    print(f"energy distance to the data: {figures['before']:.3f} before, {figures['after']:.4f} after {rounds} rounds")
    print(f"root mean square of ‖∂D/∂x̂‖ − 1: {figures['off_one']:.3f}")
    if picture:
        figure = Figure(figsize=(4.5, 3), layout="constrained")
        axes = figure.subplots()
        axes.scatter(*points[:600].T, s=4, label="data")
        axes.scatter(*made[:600].T, s=4, label="generated")
        axes.legend(loc="lower left")
        figure.savefig(picture, dpi=110)
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
