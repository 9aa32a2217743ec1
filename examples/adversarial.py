"""The loss at a perturbed input. A positive weight makes the network robust, a small negative one susceptible: measured.

Run: python examples/adversarial.py [PICTURE]
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import inputgrad as ig

EPSILONS = (0.0, 0.05, 0.10, 0.15)


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images ``[N, 64]`` in [0, 1] and labels ``[N]``: 1257 to train on, 540 held out."""
    data = load_digits()
    images, labels = torch.tensor(data.data / 16).float(), torch.tensor(data.target)
    order = torch.randperm(len(images))
    return images[order[:1257]], labels[order[:1257]], images[order[1257:]], labels[order[1257:]]


def trained(criterion: ig.InputGradientLoss, images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            criterion(model, images[rows], labels[rows]).backward()
            optimizer.step()
    return model


def own_loss(output: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, labels, reduction="none")


def accuracy_under_attack(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> float:
    """After ten sign steps of epsilon/10 up the loss, which cannot leave the ball |x̃ − x|∞ ≤ epsilon."""
    if epsilon:
        images = ig.follow_gradient(model, images, of=own_loss, target=labels, steps=10, step_size=epsilon / 10, scaling="sign", bounds=(0, 1))[-1]
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def main(picture: Path | None = None, epochs: int = 15) -> dict[str, list[float]]:
    torch.manual_seed(0)
    images, labels, held_images, held_labels = digits()
    uphill = ig.Adversarial(ig.FGSM(0.1, bounds=(0, 1)))  # x + ε·sign(∂loss/∂x)
    criteria = {
        "without the term": ig.InputGradientLoss(nn.CrossEntropyLoss()),
        "weight +1": nn.CrossEntropyLoss() + 1.0 * uphill,
        "weight -0.05": nn.CrossEntropyLoss() + -0.05 * uphill,
    }
    figures = {}
    for name, criterion in criteria.items():
        model = trained(criterion, images, labels, epochs)
        figures[name] = [accuracy_under_attack(model, held_images, held_labels, epsilon) for epsilon in EPSILONS]
        print(f"{name:17}" + "   ".join(f"ε = {epsilon:.2f}: {accuracy:.3f}" for epsilon, accuracy in zip(EPSILONS, figures[name], strict=True)))
    if picture:
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        for name, accuracies in figures.items():
            axes.plot(EPSILONS, accuracies, marker="o", label=name)
        axes.set(xlabel="ε of the attack", ylabel="held-out accuracy", ylim=(0, 1.02))
        axes.legend(fontsize=8)
        figure.savefig(picture, dpi=110)
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
