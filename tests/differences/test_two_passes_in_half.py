"""The pass that base loss and term share, under a gradient scaler and under autocast to float16: no pass more, and no more error."""

import copy
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import FiniteDifference, WeightAsStep, finite_difference
from inputgrad.memory import memory
from inputgrad.passes import joint_gradients
from inputgrad.passes.precision import INPUT_GRADIENT_SCALE
from tests.differences.counting import OWN_LOSS, Counted, Counting
from tests.zoo import FEATURES, OUTPUTS

ENGINES = [FiniteDifference("one_sided"), FiniteDifference("central"), FiniteDifference("richardson"), WeightAsStep()]
WEIGHT = 0.02
PASSES = {"one_sided": 2, "central": 3, "richardson": 5}


def autocast(dtype: torch.dtype) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype, enabled=dtype is not torch.float32)


def data(n: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, FEATURES, generator=generator), torch.randn(n, OUTPUTS, generator=generator)


def model() -> Counting:
    torch.manual_seed(2)
    return Counting()


def scaler(scale: float | None) -> torch.amp.GradScaler | None:
    return None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)


def gradient(net: nn.Module) -> Tensor:
    return torch.cat([part.grad.flatten().double() for part in net.parameters() if part.grad is not None])


def loss(engine: Any) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("mse", WEIGHT * OWN_LOSS, engine=engine)


def taken(net: nn.Module, criterion: ig.InputGradientLoss, pair: tuple[Tensor, Tensor], dtype: torch.dtype, scale: float | None) -> Tensor:
    net.zero_grad()
    with autocast(dtype):
        criterion.backward(net, *pair, scaler=scaler(scale))
    return gradient(net) / (scale or 1)


def exact(net: nn.Module, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Double backward written out."""
    double, (x, y) = copy.deepcopy(net).double(), (part.double() for part in pair)
    x.requires_grad_()
    own = (double(x) - y).square().mean(1)
    (g,) = torch.autograd.grad(own.sum(), x, create_graph=True)
    (own.mean() + WEIGHT * g.square().sum(1).mean()).backward()
    return gradient(double)


def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_difference, "input_and_parameter_gradients", lambda *_: None)


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [None, 2.0**6])
def test_passes_in_all(engine: Any, dtype: torch.dtype, scale: float | None) -> None:
    """As many forward passes, and backward passes that reach the parameters, as in float64 without a scaler."""
    net, criterion = model(), loss(engine)
    taken(net, criterion, data(), dtype, scale)  # the first step may try the model once more
    net.calls = Counted.made = 0
    taken(net, criterion, data(), dtype, scale)
    passes = PASSES[engine.scheme] if isinstance(engine, FiniteDifference) else 2
    assert (net.calls, Counted.made) == (passes, 2 * (passes if isinstance(engine, FiniteDifference) else 1))


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_a_scale_moves_no_displacement(engine: Any) -> None:
    """The step comes of the term's cotangent, which the scale multiplies too: a scale of 65 536 is no larger step."""
    plain, scaled = (taken(model(), loss(engine), data(), torch.float32, scale) for scale in (None, 2.0**16))
    assert (plain - scaled).norm() < 1e-4 * plain.norm()


@pytest.mark.parametrize("scheme", PASSES)
@pytest.mark.parametrize("scale", [None, 2.0**6])
def test_no_more_error_in_float16_than_by_passes_apart(scheme: Any, scale: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    criterion, expected = loss(FiniteDifference(scheme)), exact(model(), data())
    together = taken(model(), criterion, data(), torch.float16, scale)
    apart(monkeypatch)
    separate = taken(model(), criterion, data(), torch.float16, scale)
    errors = [float((found - expected).norm() / expected.norm()) for found in (together, separate)]
    assert errors[0] < 1e-2
    assert errors[0] < 1.2 * errors[1]


def test_a_sum_over_samples_that_overflows_costs_the_input_gradient_nothing() -> None:
    """Two thousand samples that pull alike: their sum, scaled, is beyond float16. It is taken apart, at the next steps without another attempt."""
    net, (x, y) = model(), data(2000)
    pair = (x.abs(), y + 20)
    for attempts in (1, 0):
        Counted.made = 0
        found = taken(net, loss(ENGINES[1]), pair, torch.float16, None)
        assert Counted.made == 2 * (3 + attempts)  # the attempt; base loss and two displaced passes
        assert INPUT_GRADIENT_SCALE.of(net) == INPUT_GRADIENT_SCALE.first
        expected = exact(net, pair)
        assert (found - expected).norm() < 1e-2 * expected.norm()
    assert memory(net).scales[joint_gradients._TOO_LARGE] == INPUT_GRADIENT_SCALE.first


def test_a_smaller_scale_is_tried_again() -> None:
    net = model()
    memory(net).scales[joint_gradients._TOO_LARGE] = INPUT_GRADIENT_SCALE.first
    INPUT_GRADIENT_SCALE.keep(net, INPUT_GRADIENT_SCALE.first / INPUT_GRADIENT_SCALE.step)
    taken(net, loss(ENGINES[1]), data(), torch.float16, None)
    Counted.made = 0
    taken(net, loss(ENGINES[1]), data(), torch.float16, None)
    assert Counted.made == 2 * PASSES["central"]
