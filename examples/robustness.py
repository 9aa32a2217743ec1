"""Jacobian regularisation, curvature and adversarial training on digits: accuracy under noise and under an attack that none of them was trained with.

Every method with its published settings where it has any. The attack is foolbox's LinfPGD with 40 steps of a tenth of ε; its default step is a third of that
and flatters every network.

Run: python examples/robustness.py [--picture PATH]
"""

import argparse
import warnings
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes.norms import input_gradient_regularization, jacobian_regularization
from inputgrad.recipes.smoothness import curvature

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # foolbox 3.3.4 imports old names of scipy's
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

NOISE = (0.0, 0.1, 0.2, 0.3, 0.4)
EPSILONS = (0.0, 0.05, 0.10, 0.15)
SEEDS = (1, 2)

CRITERIA = {
    "plain": ig.InputGradientLoss(nn.CrossEntropyLoss()),
    "gradient norm, λ = 1": nn.CrossEntropyLoss() + input_gradient_regularization(1.0),
    "Jacobian, λ = 0.01": nn.CrossEntropyLoss() + jacobian_regularization(0.01, projections=1),
    "curvature, γ = 4": nn.CrossEntropyLoss() + curvature(4.0, h=1.5),
    "FGSM at 0.15": nn.CrossEntropyLoss() + 1.0 * ig.Adversarial(ig.FGSM(0.15, bounds=(0, 1))),
}


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images ``[N, 1, 8, 8]`` in [0, 1] and labels ``[N]``: 1257 to train on, 540 held out."""
    data = load_digits()
    images, labels = torch.tensor(data.images / 16).float()[:, None], torch.tensor(data.target)
    order = torch.randperm(len(images))
    train, held_out = order[:1257], order[1257:]
    return images[train], labels[train], images[held_out], labels[held_out]


def trained(criterion: ig.InputGradientLoss, images: Tensor, labels: Tensor, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(144, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            criterion(model, images[rows], labels[rows]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def under_noise(model: nn.Module, images: Tensor, labels: Tensor, sigma: float) -> float:
    """The mean over 20 draws of Gaussian noise, not clipped."""
    torch.manual_seed(0)
    return sum(accuracy(model, images + sigma * torch.randn_like(images), labels) for _ in range(20)) / 20


def attacked(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The images after the attack on this model."""
    if epsilon == 0:
        return images
    torch.manual_seed(0)  # the attack starts at random: the same for every network
    attack = LinfPGD(steps=40, rel_stepsize=0.1)
    return attack(PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=[epsilon])[1][0].detach()


def measured(model: nn.Module, images: Tensor, labels: Tensor, transferred: list[Tensor]) -> dict[str, list[float]]:
    """Accuracies by σ, and by ε under the attack on the model itself and under the worse of that and the attack on the plain network, sample by sample.

    A network whose gradient hides can fool the first, and not the second.
    """
    own = [attacked(model, images, labels, epsilon) for epsilon in EPSILONS]
    with torch.no_grad():
        right = [torch.stack([model(moved).argmax(1) == labels for moved in both]) for both in zip(own, transferred, strict=True)]
    return {
        "noise": [under_noise(model, images, labels, sigma) for sigma in NOISE],
        "own": [float(found[0].float().mean()) for found in right],
        "worse": [float(found.all(0).float().mean()) for found in right],
    }


def mean_of(runs: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    return {name: [sum(values) / len(runs) for values in zip(*(run[name] for run in runs), strict=True)] for name in runs[0]}


def draw(path: Path, figures: dict[str, dict[str, list[float]]]) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, accuracies in figures.items():
        left.plot(NOISE, accuracies["noise"], marker="o", markersize=3, label=name)
        right.plot(EPSILONS, accuracies["worse"], marker="o", markersize=3, label=name)
    left.set(xlabel="σ of Gaussian noise", ylabel="held-out accuracy", ylim=(0, 1.02))
    right.set(xlabel="ε of LinfPGD(steps=40, rel_stepsize=0.1), own or transferred")
    left.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main(picture: Path | None = None, epochs: int = 15) -> dict[str, dict[str, list[float]]]:
    torch.manual_seed(0)
    images, labels, held_images, held_labels = digits()
    runs: dict[str, list[dict[str, list[float]]]] = {name: [] for name in CRITERIA}
    for seed in SEEDS:
        plain = trained(CRITERIA["plain"], images, labels, epochs, seed)
        transferred = [attacked(plain, held_images, held_labels, epsilon) for epsilon in EPSILONS]
        for name, criterion in CRITERIA.items():
            model = plain if name == "plain" else trained(criterion, images, labels, epochs, seed)
            runs[name].append(measured(model, held_images, held_labels, transferred))
    figures = {name: mean_of(several) for name, several in runs.items()}
    print(f"{'':22}clean   noise of σ = 0.2, 0.4   attack at ε = 0.10, 0.15   the worse of it and the plain network's")
    for name, found in figures.items():
        noise, own, worse = found["noise"], found["own"], found["worse"]
        print(f"{name:22}{noise[0]:.3f}   {noise[2]:.3f}, {noise[4]:.3f}            {own[2]:.3f}, {own[3]:.3f}               {worse[2]:.3f}, {worse[3]:.3f}")
    if picture:
        draw(picture, figures)
    check(figures)
    return figures


def check(figures: dict[str, dict[str, list[float]]]) -> None:
    """What the example claims, with margins."""
    plain = figures["plain"]
    for name, found in figures.items():
        if name == "plain":
            continue
        assert found["noise"][0] > plain["noise"][0] - 0.04, f"{name}: clean accuracy"
        assert found["noise"][4] > plain["noise"][4] + 0.03, f"{name}: noise of 0.4"
        assert found["worse"][2] > plain["worse"][2] + 0.1, f"{name}: attack at 0.10"
        assert found["worse"][3] > plain["worse"][3] + 0.1, f"{name}: attack at 0.15"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path)
    main(parser.parse_args().picture)
