"""Regularise how much the loss varies with the input: what the norm of the input gradient costs and brings on digits.

Run: python examples/gradient_norm.py [PICTURE]
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
    """Images ``[N, 1, 8, 8]`` in [0, 1] and labels ``[N]``: 1257 to train on, 540 held out."""
    data = load_digits()
    images, labels = torch.tensor(data.images / 16).float()[:, None], torch.tensor(data.target)
    order = torch.randperm(len(images))
    train, held_out = order[:1257], order[1257:]
    return images[train], labels[train], images[held_out], labels[held_out]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(144, 10))


def trained(criterion: ig.InputGradientLoss, images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(1)
    model = network()
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


def draw(path: Path, curves: dict[str, list[float]], images: Tensor, gradients: dict[str, Tensor]) -> None:
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.3))
    axes = left.subplots()
    for name, accuracies in curves.items():
        axes.plot(EPSILONS, accuracies, marker="o", label=name)
    axes.set(xlabel="ε of the attack", ylabel="held-out accuracy", ylim=(0, 1.02))
    axes.legend()
    grid = right.subplots(1 + len(gradients), 6)
    for column in range(6):
        grid[0, column].imshow(images[column, 0].numpy(), cmap="gray")
        scale = max(float(gradient[column].abs().max()) for gradient in gradients.values())  # one scale per sample: the rows can be compared
        for cell, gradient in zip(grid[1:, column], gradients.values(), strict=True):
            cell.imshow(gradient[column, 0].numpy(), cmap="RdBu", vmin=-scale, vmax=scale)
    for row, name in zip(grid, ("input", *gradients), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for cell in grid.flat:
        cell.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110)


def main(picture: Path | None = None, epochs: int = 15) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    images, labels, held_images, held_labels = digits()
    penalty = ig.GradientNorm(of="loss")
    criteria = {"plain": ig.InputGradientLoss(nn.CrossEntropyLoss()), "gradient norm": nn.CrossEntropyLoss() + 1.0 * penalty}
    measure = nn.CrossEntropyLoss() + penalty
    figures, gradients, curves = {}, {}, {}
    for name, criterion in criteria.items():
        model = trained(criterion, images, labels, epochs)
        with torch.no_grad():
            norm = float(measure.evaluate(model, held_images, held_labels).parts["gradient_norm"])
        curves[name] = [accuracy_under_attack(model, held_images, held_labels, epsilon) for epsilon in EPSILONS]
        gradients[name] = ig.output_and_gradient(model, held_images[:6], of=own_loss, target=held_labels[:6])[1].detach()
        figures[name] = {"clean": curves[name][0], "attacked": curves[name][2], "mean_norm": norm}
        print(f"{name:14} clean {curves[name][0]:.3f}   attacked at ε = 0.10 {curves[name][2]:.3f}   mean ‖∂loss/∂x‖ {norm:.3f}")
    if picture:
        draw(picture, curves, held_images, gradients)
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
