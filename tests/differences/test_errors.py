"""How far differences are off: the figures of docs/engines.md, the estimate on request, and what goes wrong without replay."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import FiniteDifference, GradientRequest
from inputgrad.passes.displaced import FrozenBranches
from inputgrad.passes.pass_options import PassOptions
from tests.table import CASES, WATCHED, error
from tests.textbook import Gradients, distance, parameter_gradients

SCHEMES = ("one_sided", "central", "richardson")
SINGLE = {"one_sided": 2e-3, "central": 1e-4, "richardson": 3e-5}
AUTOCAST = {"one_sided": 0.1, "central": 0.05, "richardson": 0.05}
"""Scheme -> error of the term's own gradient: fresh networks, float32, and the smooth one under bfloat16 autocast."""
OWN_LOSS = ig.GradientNorm(of="loss", power=2)


def mlp(activation: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), activation(), nn.Linear(128, 128), activation(), nn.Linear(128, 10)), torch.randn(32, 64)


def cnn(activation: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    pool = nn.MaxPool2d(2) if activation is nn.ReLU else nn.Sequential(nn.GroupNorm(4, 16), nn.AvgPool2d(2))
    return nn.Sequential(first, activation(), pool, second, activation(), nn.Flatten(), nn.Linear(16 * 16, 10)), torch.randn(16, 3, 8, 8)


NETWORKS = {f"{build.__name__}_{activation.__name__}": (build, activation) for build in (mlp, cnn) for activation in (nn.SiLU, nn.ReLU)}


def made(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    build, activation = NETWORKS[name]
    model, x = build(activation)
    return model, x, torch.randint(10, (len(x),))


def term(engine: Any, model: nn.Module, x: Tensor, y: Tensor) -> Gradients:
    """The parameter gradient of the term by itself, in float64."""
    parts = ig.InputGradientLoss("cross_entropy", OWN_LOSS, engine=engine).losses(model, x, y)
    model.zero_grad()
    found = parameter_gradients(model, parts["gradient_norm"])
    return {name: None if part is None else part.double() for name, part in found.items()}


def off(engine: Any, model: nn.Module, x: Tensor, y: Tensor) -> float:
    return distance(term(engine, model, x, y), term("double_backward", copy.deepcopy(model).double(), x.double(), y))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_figures_in_single_precision(name: str, scheme: Any) -> None:
    assert off(FiniteDifference(scheme), *made(name)) <= SINGLE[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_figures_under_bfloat16_autocast(scheme: Any) -> None:
    model, x, y = made("mlp_SiLU")
    with torch.autocast("cpu", torch.bfloat16):
        found = term(FiniteDifference(scheme), model, x, y)
        fine = term(FiniteDifference(scheme, step=1e-3), model, x, y)
    exact = term("double_backward", copy.deepcopy(model).double(), x.double(), y)
    assert distance(found, exact) <= AUTOCAST[scheme]
    assert distance(fine, exact) >= 5 * distance(found, exact)  # a step of float32 is lost in the rounding


def test_the_step_follows_the_precision_of_the_pass() -> None:
    fractions = {scheme: FiniteDifference(scheme)._fraction([torch.float32]) for scheme in SCHEMES}
    assert fractions == pytest.approx({"one_sided": 3.5e-4, "central": 2.5e-3, "richardson": 1.25e-2}, rel=0.05)
    coarse = {scheme: FiniteDifference(scheme)._fraction([torch.float32, torch.bfloat16]) for scheme in SCHEMES}
    assert coarse == pytest.approx({"one_sided": 4.4e-2, "central": 6.2e-2, "richardson": 8.7e-2}, rel=0.05)
    assert FiniteDifference("richardson", step=0.02)._fraction([torch.bfloat16]) == 0.02


@pytest.mark.parametrize("row", ["norm_squared", "norm_of_projection", "direction"])
@pytest.mark.parametrize("name", ["mlp", "mlp_relu", "cnn_max_pool", "dropout", "attention", "recurrent", "in_place_activations"])
def test_richardson_over_the_table(name: str, row: str) -> None:
    assert error(CASES[f"{name}-{row}-7"], FiniteDifference("richardson")) <= 1e-9


# the estimate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("widened", [1, 8])
def test_the_estimate_is_within_a_factor_of_ten(name: str, scheme: Any, dtype: torch.dtype, widened: float) -> None:
    """At the step of the rule, where rounding and curvature share the error, and at a wider one, where curvature makes it."""
    model, x, y = made(name)
    model, x = model.to(dtype), x.to(dtype)
    engine = FiniteDifference(scheme, step=widened * FiniteDifference(scheme)._fraction([dtype]))
    true = off(engine, model, x, y)
    told = engine.estimate(ig.InputGradientLoss("cross_entropy", OWN_LOSS), model, x, y)
    assert true / 10 <= told <= 10 * true


def test_the_estimate_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, affine=False), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 10)).double()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    criterion = ig.InputGradientLoss("cross_entropy", (0.3 * OWN_LOSS).scheduled(every=2), engine=FiniteDifference())
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(10, (6,))
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="couples the samples"):
        assert 0 < criterion.engine.estimate(criterion, model, x, y) < 1e-6  # type: ignore[attr-defined]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (criterion.step_number, criterion.engine) == (0, FiniteDifference())
    criterion.step_number = 1
    assert FiniteDifference().estimate(criterion, model, x, y) == 0  # no term is due


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(ValueError, match=r"richardson"):
        FiniteDifference("richardsen")  # type: ignore[arg-type]


# canaries


class Branchless(FiniteDifference):
    """Decides anew in every displaced pass."""

    def pass_options(self, model: nn.Module) -> PassOptions:
        return PassOptions()

    def _scored(self, request: GradientRequest) -> FrozenBranches:
        return FrozenBranches(request.score)


class Restless(FiniteDifference):
    """Draws anew and counts on in every displaced pass."""

    def _scored(self, request: GradientRequest) -> FrozenBranches:
        request.forward.primal()
        scored = super()._scored(request)
        request.forward._replay = Live()  # type: ignore[assignment]
        return scored

    def _check(self, *_: Any) -> None:
        """Nothing: further passes would count on, too."""


class Live:
    reentrant, output, whole = False, None, False

    @contextmanager
    def run(self) -> Iterator[None]:
        yield


def wrong(engine: FiniteDifference, tolerance: float) -> set[str]:
    found = set()
    for name in (*WATCHED, "fused_attention"):
        case = CASES[f"{name}-norm_squared-7"]
        other, sound = (parameters(case, used) for used in (engine, FiniteDifference(engine.scheme, engine.step)))
        if distance(other, sound) > tolerance:
            found.add(name)
    return found


def parameters(case: Any, engine: FiniteDifference) -> Gradients:
    model, inputs, target = case.specimen.make(), case.specimen.data(case.size), case.target()
    torch.manual_seed(4)
    case.criterion(engine).backward(model, inputs, target)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.filterwarnings("ignore:.*couples the samples")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_replayed_branches_exactly_the_models_with_branches_fail(scheme: Any) -> None:
    """At a step that some units do not survive; the smaller the step, the fewer and the larger the jumps."""
    assert wrong(Branchless(scheme, step=0.6), 1e-12) == {"mlp_relu", "critic_leaky_relu", "cnn_max_pool", "in_place_activations"}


@pytest.mark.filterwarnings("ignore:.*couples the samples")
def test_without_replayed_draws_exactly_the_models_with_a_state_fail() -> None:
    assert wrong(Restless("central"), 1e-6) == {"dropout", "counting", "spectral_norm"}


def test_branches_flip_at_the_step_of_the_rule_too() -> None:
    """Not at a far-fetched step alone: in float32, with some thousand units, the term's gradient is wrong by more than a tenth of itself."""
    model, x, y = made("mlp_ReLU")
    assert off(Branchless("one_sided"), model, x, y) > 0.1 > 50 * off(FiniteDifference("one_sided"), model, x, y)
