"""A monotone constraint on cars: miles per gallon fall with the weight and rise with the model year, all else equal.

Data: Auto MPG (392 cars, from mlxtend), half of them to train on, three random splits. A prediction has the wrong sign where it would rise with the weight
or fall with the year. This is measured at the held-out cars and at points drawn from the whole box of the features.

Run: python examples/monotone.py [--picture PICTURE]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes.constraints import certified_monotone
from inputgrad.terms.monotone import Monotone

NAMES = ("cylinders", "displacement", "horsepower", "weight", "acceleration", "year", "origin")
SIGNS = {NAMES.index("weight"): -1, NAMES.index("year"): +1}
SPLITS = 3


@dataclass
class Cars:
    """Features and miles per gallon, both standardised by the half to train on."""

    train: Tensor
    mpg: Tensor
    held_out: Tensor
    held_out_mpg: Tensor
    low: Tensor
    high: Tensor
    unit: float
    """Miles per gallon of one unit of the standardised target."""


def cars(split: int) -> Cars:
    try:
        from mlxtend.data import autompg_data
    except ImportError as error:
        raise SystemExit("examples/monotone.py reads a data set that comes with mlxtend: pip install mlxtend --no-deps") from error
    features, mpg = autompg_data()
    x, y = torch.tensor(features[:, : len(NAMES)]).float(), torch.tensor(mpg).float()[:, None]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(split))
    train, held_out = order[:196], order[196:]
    x, unit = (x - x[train].mean(0)) / x[train].std(0), y[train].std()
    y = (y - y[train].mean()) / unit
    return Cars(x[train], y[train], x[held_out], y[held_out], x[train].amin(0), x[train].amax(0), float(unit))


def trained(data: Cars, terms: Any, split: int, steps: int) -> nn.Module:
    torch.manual_seed(split)
    model = nn.Sequential(nn.Linear(len(NAMES), 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    criterion = ig.InputGradientLoss("mse", terms)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion.backward(model, data.train, data.mpg)
        optimizer.step()
        schedule.step()
    return model


def wrong(model: nn.Module, points: Tensor) -> float:
    """The share of points at which a derivative has the wrong sign."""
    gradient = ig.output_and_gradient(model, points)[1].detach()
    return float(torch.stack([sign * gradient[:, feature] < 0 for feature, sign in SIGNS.items()]).any(0).float().mean())


def measured(model: nn.Module, data: Cars, split: int) -> dict[str, float]:
    uniform = data.low + (data.high - data.low) * torch.rand(20_000, len(NAMES), generator=torch.Generator().manual_seed(split))
    with torch.no_grad():
        error = data.unit * float(nn.functional.mse_loss(model(data.held_out), data.held_out_mpg).sqrt())
    return {"error": error, "wrong at cars": wrong(model, data.held_out), "wrong in the box": wrong(model, uniform)}


def constraints() -> dict[str, Callable[[Cars], list[Any]]]:
    def at_cars(margin: float) -> Any:
        return Monotone(SIGNS, margin=margin)

    def in_box(data: Cars, margin: float) -> Any:
        return certified_monotone(features=SIGNS, low=data.low, high=data.high, n=256, margin=margin)

    return {
        "plain": lambda data: [],
        "at the cars, margin 0.1": lambda data: [10 * at_cars(0.1)],
        "at the cars and in the box, margin 0": lambda data: [10 * at_cars(0.0), 10 * in_box(data, 0.0)],
        "at the cars and in the box, margin 0.1": lambda data: [10 * at_cars(0.1), 10 * in_box(data, 0.1)],
    }


def draw(path: Path, data: Cars, models: dict[str, nn.Module]) -> None:
    """What the networks say of twelve held-out cars, were their weight, or their year, another; black where the sign is wrong."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    grid = figure.subplots(len(models), len(SIGNS), sharey=True, squeeze=False)
    for row, (name, model) in zip(grid, models.items(), strict=True):
        for axes, feature in zip(row, SIGNS, strict=True):
            values = torch.linspace(float(data.low[feature]), float(data.high[feature]), 60)
            for car in data.held_out[:12]:
                changed = car.repeat(60, 1)
                changed[:, feature] = values
                with torch.no_grad():
                    curve = data.unit * model(changed)[:, 0]
                axes.plot(values, curve, linewidth=1)
                wrong_way = SIGNS[feature] * curve.diff(append=curve[-1:]) < 0
                axes.plot(values, curve.where(wrong_way, torch.nan), color="black", linewidth=2.5)
            axes.set(xlabel=f"{NAMES[feature]}, standardised", title=name)
        row[0].set_ylabel("miles per gallon, from the mean")
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main(picture: Path | None = None, steps: int = 600) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    models: dict[str, nn.Module] = {}
    print("mean of three splits                      error (mpg)   wrong sign at cars   in the box")
    for name, terms in constraints().items():
        rows = []
        for split in range(SPLITS):
            data = cars(split)
            models[name] = trained(data, terms(data), split, steps)
            rows.append(measured(models[name], data, split))
        figures[name] = {key: sum(row[key] for row in rows) / SPLITS for key in rows[0]}
        error, at_cars, in_box = figures[name].values()
        print(f"{name:40} {error:12.2f} {at_cars:20.1%} {in_box:12.2%}")
    (first, plain), *_, (last, constrained) = figures.items()
    if picture:
        draw(picture, cars(SPLITS - 1), {name: models[name] for name in (first, last)})
    assert plain["wrong at cars"] > 0.05
    assert constrained["wrong at cars"] < 0.005
    assert constrained["wrong in the box"] < 0.002
    assert constrained["error"] < 1.03 * plain["error"]  # the constraint costs no accuracy here: it is true
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path)
    main(parser.parse_args().picture)
