"""Train a classifier of threes and eights so that following its input gradient turns a three into an eight.

Run: python examples/direction_match.py [PICTURE]
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

import inputgrad as ig


def threes_and_eights() -> tuple[Tensor, Tensor]:
    """Images ``[N, 64]`` in [0, 1], and whether each shows an eight, ``[N, 1]``, in random order."""
    data = load_digits()
    rows = torch.tensor((data.target == 3) | (data.target == 8)).nonzero().flatten()
    rows = rows[torch.randperm(len(rows))]
    return torch.tensor(data.data / 16).float()[rows], torch.tensor(data.target == 8).float()[rows, None]


def trained(criterion: ig.InputGradientLoss, images: Tensor, is_eight: Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            criterion(model, images[rows], is_eight[rows]).backward()
            optimizer.step()
    return model


def draw(picture: Path, paths: dict[str, Tensor]) -> None:
    """One row a network: the same three after every fourth step along the gradient."""
    figure = Figure(figsize=(8, 2.4), layout="constrained")
    grid = figure.subplots(len(paths), 8)
    for row, (name, path) in zip(grid, paths.items(), strict=True):
        for cell, step in zip(row, range(0, len(path), 4), strict=False):
            cell.imshow(path[step, 0].reshape(8, 8).numpy(), cmap="gray", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[], xlabel=f"step {step}")
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(picture, dpi=110)


def main(picture: Path | None = None, epochs: int = 60) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    images, is_eight = threes_and_eights()
    seen, held_out = slice(0, 250), slice(250, None)
    three, eight = (images[seen][is_eight[seen, 0] == kind].mean(0) for kind in (0, 1))  # the mean three, the mean eight
    match = ig.DirectionMatch(eight - three)
    criteria = {"plain": ig.InputGradientLoss(nn.BCEWithLogitsLoss()), "direction match": nn.BCEWithLogitsLoss() + 0.3 * match}
    threes = images[held_out][is_eight[held_out, 0] == 0]
    figures, paths = {}, {}
    for name, criterion in criteria.items():
        model = trained(criterion, images[seen], is_eight[seen], epochs)
        output, gradient = ig.output_and_gradient(model, images[held_out])
        paths[name] = ig.follow_gradient(model, threes, steps=28, step_size=0.1, bounds=(0, 1))
        figures[name] = {
            "cosine": float(cosine_similarity(gradient.detach(), (eight - three)[None]).mean()),
            "accuracy": float(((output > 0) == (is_eight[held_out] > 0)).float().mean()),
            "distance": float((paths[name][-1] - eight).norm(dim=1).mean()),
        }
        print(f"{name:16}" + "   ".join(f"{key} {value:.3f}" for key, value in figures[name].items()))
    print(f"{'before the path':16}distance {(threes - eight).norm(dim=1).mean():.3f}")
    if picture:
        draw(picture, paths)
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
