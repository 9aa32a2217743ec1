"""Points of a differential equation: causal and self-adaptive weights, and points chosen by the residual, against their papers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes import collocation, physics_informed
from inputgrad.terms.causal import CausalResidual
from inputgrad.terms.residual import Residual
from inputgrad.terms.self_adaptive import SelfAdaptive
from tests.catalogue.harness import SCALARS, Entry, cases, check
from tests.catalogue.test_norms import loss_gradients
from tests.catalogue.test_physics_informed import burgers_residual, first, transport
from tests.textbook import parameter_gradients

NAMES = "abcdt"
WEIGHTS = torch.linspace(0.5, 2, 6, dtype=torch.float64)


def causal(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Wang et al.: M segments in the order of time, w_i = exp(−ε Σ_{k<i} L_k)."""
    r = first(model, x)[:, 4] + 0.7 * first(model, x)[:, 0] - model(x)[:, 0]
    squares = r[x[:, 4].argsort()] ** 2
    losses = [squares[0:2].mean(), squares[2:4].mean(), squares[4:6].mean()]
    total, before = x.new_zeros(()), 0.0
    for loss in losses:
        total = total + math.exp(-0.4 * before) * loss / 3
        before += loss.item()
    return 2.0 * total


def self_adaptive_burgers(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """McClenny & Braga-Neto's code: the mean of (λ r)²."""
    return ((WEIGHTS * torch.func.vmap(lambda row: burgers_residual(model, row))(x)) ** 2).mean()


def self_adaptive_norm(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    return (WEIGHTS**2 * (loss_gradients(model, x, y) ** 2).sum(1)).mean()


SMOOTH = SCALARS[:1]
ENTRIES = (
    Entry("causal", lambda: collocation.causal(2.0 * Residual(transport, NAMES), epsilon=0.4, segments=3), causal, models=SMOOTH),
    Entry("CausalResidual", lambda: 2.0 * CausalResidual(transport, NAMES, epsilon=torch.tensor(0.4), segments=3), causal, models=SMOOTH),
    Entry(
        "self_adaptive",
        lambda: collocation.self_adaptive(physics_informed.burgers(viscosity=0.1, names=NAMES, space="a"), weights=WEIGHTS),
        self_adaptive_burgers,
        models=SMOOTH,
    ),
    Entry(
        "SelfAdaptive", lambda: SelfAdaptive(ig.GradientNorm(of="loss", power=2), WEIGHTS), self_adaptive_norm, base="cross_entropy", models=("smooth", "relu")
    ),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def decay(u: ig.Field) -> Tensor:
    return u.d("t") + 3 * u.value


def test_causal_weights_fall_from_1_and_rise_to_1_with_the_solution() -> None:
    model, points = network(), torch.rand(40, 2, dtype=torch.float64)
    term = CausalResidual(decay, "xt", epsilon=5.0, segments=4)
    weights = term.weights(model, points)
    assert weights[0] == 1
    assert (weights.diff() < 0).all()

    class Solution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, z: Tensor) -> Tensor:
            return self.scale * torch.exp(-3 * z[:, 1])

    assert term.weights(Solution(), points).min() > 0.99


def test_a_grid_of_times_is_cut_by_its_times() -> None:
    """Points of three times, in any order: with three segments L_i is that time's."""
    model = network()
    x, t = torch.rand(4, dtype=torch.float64), torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    points = torch.cartesian_prod(x, t)
    weights = CausalResidual(decay, "xt", epsilon=1.0, segments=3).weights(model, points)
    losses = [(decay(ig.field(model, points[points[:, 1] == time], names="xt")) ** 2).mean().item() for time in (0.1, 0.5)]
    assert weights.tolist() == pytest.approx([1, math.exp(-losses[0]), math.exp(-losses[0] - losses[1])], rel=1e-12)


@pytest.mark.parametrize("engine", ["auto", "double_backward", "finite_difference"])
@pytest.mark.parametrize("term", [Residual(decay, "xt"), ig.GradientNorm(power=2)])
def test_the_weights_learn_by_ascent(term: Any, engine: str) -> None:
    model, points, weights = network(), torch.rand(6, 2, dtype=torch.float64), nn.Parameter(WEIGHTS.clone())
    single = torch.stack([ig.InputGradientLoss(None, term)(model, row[None]).detach() for row in points])
    ig.InputGradientLoss(None, SelfAdaptive(term, weights), engine=engine)(model, points).backward()
    torch.testing.assert_close(weights.grad, 2 * WEIGHTS * single / 6, rtol=1e-10, atol=0)
    optimizer = torch.optim.Adam([weights], 0.005, maximize=True)
    optimizer.step()
    assert (weights > WEIGHTS).all()


def test_rows_of_the_weights_by_an_index_in_the_target() -> None:
    model, points, weights = network(), torch.rand(3, 2, dtype=torch.float64), nn.Parameter(torch.arange(1.0, 6.0).double())
    term = collocation.self_adaptive(ig.GradientNorm(power=2), weights=lambda batch: weights[batch.target["index"]])
    ig.InputGradientLoss(None, term)(model, points, {"index": torch.tensor([4, 0, 2])}).backward()
    assert (weights.grad != 0).tolist() == [True, False, True, False, True]


def test_rad_draws_by_the_density_of_the_paper() -> None:
    """A residual of 1 on the left half and 3 on the right: p ∝ |r|/2 + 1, so a share of 2.5 / 4 on the right."""
    model, low, high = network(), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 2.0])
    step = Residual(lambda u: torch.where(u.coordinate("x") > 0.5, 3.0, 1.0) + 0 * u.value, "xt")
    torch.manual_seed(0)
    points = collocation.rad_points(step, model, 4000, low, high, candidates=40_000)
    assert points.shape == (4000, 2)
    assert (points.dtype, points.requires_grad) == (torch.float64, False)
    assert ((points >= low) & (points <= high)).all()
    assert (points[:, 0] > 0.5).double().mean().item() == pytest.approx(2.5 / 4, abs=0.03)
    assert len(points.unique(dim=0)) == 4000
    sharper = collocation.rad_points(step, model, 4000, low, high, k=2, c=0, candidates=40_000)
    assert (sharper[:, 0] > 0.5).double().mean().item() == pytest.approx(0.9, abs=0.03)


def test_rar_adds_the_worst_points() -> None:
    model, low, high = network(), torch.zeros(2), torch.ones(2)
    steep = Residual(lambda u: u.coordinate("x") - 2 + 0 * u.value, "xt")
    before = torch.rand(10, 2)
    after = collocation.rar_points(steep, model, before, 5, low, high, candidates=1000)
    assert torch.equal(after[:10], before)
    assert (after[10:, 0] < 0.05).all()
    assert (after.shape, after.dtype) == ((15, 2), torch.float32)
    drawn = collocation.rar_points(steep, model, before, 200, low, high, greedy=False, candidates=2000)[10:]
    assert (drawn[:, 0] > 0.5).any()
    assert drawn[:, 0].mean() < 0.5


def test_sampling_leaves_the_model_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))
    collocation.rad_points(Residual(decay, "xt"), model, 5, torch.zeros(2), torch.ones(2), candidates=50)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert parameter_gradients(model, model(torch.rand(3, 2)).sum())


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: CausalResidual(decay, "xt", epsilon=-1), ValueError, "epsilon must be at least 0"),
        (lambda: CausalResidual(decay, "xt", segments=0), ValueError, "segments must be a whole number"),
        (lambda: collocation.causal(ig.GradientNorm()), TypeError, "takes a Residual or a recipe for one"),
        (lambda: SelfAdaptive(2.0 * ig.GradientNorm(), WEIGHTS), TypeError, "a term without a weight"),
        (lambda: SelfAdaptive(CausalResidual(decay, "xt"), WEIGHTS), ValueError, "a statistic of the batch"),
        (lambda: ig.InputGradientLoss(None, CausalResidual(decay, "xt"))(network(), torch.rand(5, 2).double()), ValueError, "at least as many points"),
        (
            lambda: ig.InputGradientLoss(None, SelfAdaptive(ig.GradientNorm(), WEIGHTS))(network(), torch.rand(5, 2).double()),
            ValueError,
            r"shape \[6\]; expected",
        ),
        (lambda: collocation.rad_points(Residual(decay, "xt"), network(), 5, 0.0, 1.0), TypeError, "low must hold one number for each coordinate"),
    ],
)
def test_bad_settings(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
