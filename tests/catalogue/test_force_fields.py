"""Huber's losses of forces and energies, and second derivatives against labels; against their papers and MACE's code."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import hessian, vmap

import inputgrad as ig
from inputgrad.recipes.force_fields import hessian_distillation, universal_loss
from inputgrad.terms.gradient_match import GradientMatch
from inputgrad.terms.hessian_match import HessianMatch
from tests import zoo
from tests.catalogue.harness import SIZE, Entry, cases, check, prices
from tests.catalogue.test_physics import forces_of, molecules, strained, volume
from tests.catalogue.test_physics_informed import second

NAN = float("nan")


def strong(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Forces of every size: below 100, 200, 300, and above; some close to the predicted ones."""
    target = molecules(inputs)
    sizes = torch.tensor([0.1, 90.0, 150.0, 250.0, 400.0], dtype=torch.float64).repeat(len(inputs[0]))[: len(inputs[0])]
    return target | {"forces": sizes[:, None] * F.normalize(target["forces"], dim=1)}


def conditional_forces(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor], delta: float) -> tuple[Tensor, Tensor]:
    """MACE: Huber's loss with δ, 0.7 δ, 0.4 δ and 0.1 δ by the size of the labelled force; the mean over all components."""
    energy, forces = forces_of(model, inputs)
    total = torch.zeros(())
    for found, wanted in zip(forces, y["forces"], strict=True):
        size = wanted.norm().item()
        factor = 1.0 if size < 100 else 0.7 if size < 200 else 0.4 if size < 300 else 0.1
        total = total + F.huber_loss(found, wanted, reduction="sum", delta=factor * delta)
    return energy, total / forces.numel()


def universal(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    energy, of_forces = conditional_forces(model, inputs, y, 0.3)
    atoms = torch.bincount(inputs[1])
    return 2.0 * F.huber_loss(energy / atoms, y["energy"] / atoms, delta=0.3) + 10.0 * of_forces


def huber_everywhere(model: nn.Module, inputs: tuple[Tensor, ...], y: dict[str, Tensor]) -> Tensor:
    """MACE's WeightedHuberEnergyForcesStressLoss, with stress."""
    energy, forces = forces_of(model, inputs)
    atoms = torch.bincount(inputs[2])
    stress = strained(model, *inputs) / volume(inputs[1])
    return (
        F.huber_loss(energy / atoms, y["energy"] / atoms, delta=0.01)
        + F.huber_loss(forces, y["forces"], delta=0.01)
        + 5.0 * F.huber_loss(stress, y["stress"], delta=0.01)
    )


def strained_molecules(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    stress = torch.linspace(-0.02, 0.02, SIZE * 9, dtype=torch.float64).reshape(SIZE, 3, 3)
    return {**strong(inputs), "stress": stress + stress.mT}


def gammas(x: Tensor) -> Tensor:
    """Labels of the diagonal alone, one of them missing."""
    labels = torch.full((len(x), zoo.FEATURES, zoo.FEATURES), NAN, dtype=torch.float64, device=x.device)
    labels.diagonal(dim1=1, dim2=2).copy_(torch.cos(3 * x))
    labels[1, 2, 2] = NAN
    return labels


def of_the_diagonal(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Sobolev training at order 2, where there is a label."""
    gap = second(model, x).diagonal(dim1=1, dim2=2) - torch.cos(3 * x)
    counts = torch.ones_like(gap)
    counts[1, 2] = 0
    return 0.3 * ((gap * counts) ** 2).sum(1).mean()


def of_two_rows(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    wanted = torch.linspace(-1, 1, zoo.FEATURES**2, dtype=torch.float64, device=x.device).reshape(zoo.FEATURES, zoo.FEATURES)
    return ((second(model, x) - wanted)[:, [3, 0]].abs() * 2).sum((1, 2)).mean()


def full(x: Tensor) -> Tensor:
    return torch.linspace(-1, 1, zoo.FEATURES**2, dtype=torch.float64, device=x.device).reshape(zoo.FEATURES, zoo.FEATURES)


def teacher(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    n, atoms = inputs[0].shape[:2]
    labels = torch.linspace(-1, 1, n * (3 * atoms) ** 2, dtype=torch.float64).sin()
    return {"hessian": labels.reshape(n, atoms, 3, atoms, 3)}


def everyone(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 4, 3, dtype=torch.float64), torch.ones(n, 4, 1, dtype=torch.bool)


def distilled(model: nn.Module, inputs: tuple[Tensor, Tensor], y: dict[str, Tensor]) -> Tensor:
    """Amin et al.'s code: of drawn rows, the length of each atom's error, its mean over rows and atoms."""
    rows = torch.rand(SIZE, 12).argsort(1)[:, :4]
    found = vmap(hessian(lambda r, m: model(r[None], m[None])[0, 0]))(*inputs)
    gap = (found - y["hessian"]).reshape(SIZE, 12, 4, 3)
    return 0.1 * torch.stack([gap[n][rows[n]].square().sum(-1).sqrt().mean() for n in range(SIZE)]).mean()


ENTRIES = (
    Entry(
        "universal_loss",
        lambda: universal_loss(energy_weight=2.0, forces_weight=10.0, delta=0.3, index="index").terms,
        lambda m, x, y: 10.0 * conditional_forces(m, x, y, 0.3)[1],
        target=strong,
        models=("flat",),
    ),
    Entry(
        "huber_forces",
        lambda: GradientMatch("forces", sign=-1, norm="huber", reduction="mean", mask="mask", delta=0.5),
        lambda m, x, y: sum(F.huber_loss(f[real], w[real], delta=0.5) for f, w, real in zip(forces_of(m, x)[1], y["forces"], x[1][..., 0], strict=True)) / SIZE,
        target=molecules,
        models=("padded",),
    ),
    Entry("HessianMatch", lambda: 0.3 * HessianMatch(gammas_of_target), of_the_diagonal, target=prices, base="mse", models=("scalar",)),
    Entry("HessianMatch_rows", lambda: HessianMatch(full_of_batch, rows=(3, 0), norm="absolute", scale=2.0), of_two_rows, models=("scalar",)),
    Entry("hessian_distillation", lambda: hessian_distillation(weight=0.1), distilled, target=teacher, inputs=everyone, models=("padded",)),
)


def gammas_of_target(batch: ig.Batch) -> Tensor:
    return gammas(batch.inputs)


def full_of_batch(batch: ig.Batch) -> Tensor:
    return full(batch.inputs)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


@pytest.mark.parametrize(
    ("model", "criterion", "reference", "target"),
    [
        ("flat", universal_loss(energy_weight=2.0, forces_weight=10.0, delta=0.3, index="index"), universal, strong),
        (
            "flat_periodic",
            universal_loss(stress="stress", stress_weight=5.0, conditional=False, index="index"),
            huber_everywhere,
            strained_molecules,
        ),
    ],
)
def test_the_whole_universal_loss_is_maces(model: str, criterion: Any, reference: Any, target: Any) -> None:
    from tests.catalogue.harness import MODELS

    torch.manual_seed(0)
    network, inputs = MODELS[model][0]().double(), MODELS[model][1](SIZE)
    wanted = reference(network, inputs, target(inputs))
    assert criterion(network, inputs, target(inputs)).item() == pytest.approx(wanted.item(), rel=1e-10)


def test_drawn_rows_estimate_all_rows() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)).double(), zoo.features(2000)[:1].expand(2000, -1)
    every = ig.InputGradientLoss(None, HessianMatch(full_of_batch, reduction="mean"))(model, x).item()
    drawn = ig.InputGradientLoss(None, HessianMatch(full_of_batch, rows=2, reduction="mean"))(model, x).item()
    assert drawn == pytest.approx(every, rel=0.05)
    assert drawn != every


def test_gammas_beside_differential_machine_learning() -> None:
    """Labels of a known function: a model that is that function, normalised, has no misfit; in raw labels it has."""
    torch.manual_seed(0)
    x = 3 + 2 * torch.rand(50, 2, dtype=torch.float64)
    y, dydx = x[:, 0] ** 2 * x[:, 1], torch.stack([2 * x[:, 0] * x[:, 1], x[:, 0] ** 2], 1)
    raw = torch.stack([2 * x[:, 1], 2 * x[:, 0], 2 * x[:, 0], 0 * x[:, 0]], 1).reshape(-1, 2, 2)
    data = ig.recipes.Differentials.of(x, y, dydx)

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            raw = data.x_mean + data.x_std * inputs
            return self.scale * (raw[:, 0] ** 2 * raw[:, 1] - data.y_mean) / data.y_std

    criterion = data.criterion() + 0.1 * HessianMatch("gamma", reduction="mean")
    target = data.target(y[:, None], dydx)
    assert criterion(Normalised(), data.inputs(x), {**target, "gamma": data.second(raw)}) < 1e-20
    assert criterion(Normalised(), data.inputs(x), {**target, "gamma": raw}) > 1e-3
    with pytest.raises(ValueError, match=r"expected \[N, D, D\] with D = 2"):
        data.second(dydx)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: HessianMatch("gamma", rows=0), ValueError, "rows must be a number of drawn rows"),
        (lambda: HessianMatch("gamma", wrt=(0, 1)), TypeError, "wrt names one input"),
        (lambda: GradientMatch("g", norm="hubert"), ValueError, "did you mean 'huber'"),
        (lambda: GradientMatch("g", norm="huber", delta=float("inf")), ValueError, "delta must be finite"),
    ],
)
def test_bad_settings(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
