"""Clipping is that of any loss: what is clipped is the whole gradient, on every engine, by either way of going backward.

Against double backward written out, clipped by hand.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import inputgrad as ig
from tests.scale.cells import ENGINES, distance, tolerance
from tests.scale.losses import LOSSES, cast, reference

NORM = LOSSES["gradient norm"]
SERVED = [engine for engine in ENGINES if engine != "weight_as_step"]
"""Those of the tolerance of a test on a limit; the other one's error is a thousandth."""

Backward = Callable[[ig.InputGradientLoss, nn.Module], object]


def by_call(criterion: ig.InputGradientLoss, model: nn.Module) -> object:
    return criterion(model, *NORM.batch()).backward()


def at_once(criterion: ig.InputGradientLoss, model: nn.Module) -> object:
    return criterion.backward(model, *NORM.batch())


def expected() -> list[Tensor]:
    return [part for part in reference(NORM, [NORM.batch()]) if part is not None]


def found(model: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("backward", [by_call, at_once])
@pytest.mark.parametrize("engine", SERVED)
def test_by_norm(engine: str, backward: Backward) -> None:
    model, whole = NORM.model(), expected()
    size = torch.stack([part.norm() for part in whole]).norm()
    backward(NORM.criterion(ENGINES[engine]), model)
    total = clip_grad_norm_(model.parameters(), float(size) / 3)
    assert abs(total - size) < tolerance("single", engine) * size
    assert distance(found(model), [part * (size / 3) / (size + 1e-6) for part in whole]) < tolerance("single", engine)


@pytest.mark.parametrize("backward", [by_call, at_once])
@pytest.mark.parametrize("engine", SERVED)
def test_by_value(engine: str, backward: Backward) -> None:
    model, whole = NORM.model(), expected()
    limit = float(torch.cat([part.flatten() for part in whole]).abs().median())
    backward(NORM.criterion(ENGINES[engine]), model)
    clip_grad_value_(model.parameters(), limit)
    assert distance(found(model), [part.clamp(-limit, limit) for part in whole]) < tolerance("single", engine)


@pytest.mark.parametrize("backward", [by_call, at_once])
@pytest.mark.parametrize("engine", SERVED)
def test_as_soon_as_a_gradient_is_there(engine: str, backward: Backward) -> None:
    """A hook of the parameter, as optimisers in the backward pass have it: called once per step, with the whole gradient."""
    model, whole, calls = NORM.model(), expected(), [0]
    limit = float(torch.cat([part.flatten() for part in whole]).abs().median())

    def clip(parameter: Tensor) -> None:
        calls[0] += 1
        assert parameter.grad is not None
        parameter.grad.clamp_(-limit, limit)

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(clip)
    backward(NORM.criterion(ENGINES[engine]), model)
    assert calls[0] == len(whole)
    assert distance(found(model), [part.clamp(-limit, limit) for part in whole]) < tolerance("single", engine)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("engine", SERVED)
def test_under_a_gradient_scaler(engine: str, at_once: bool) -> None:
    """float16: unscaled first, then clipped, as torch's own recipe has it."""
    model, whole = NORM.model(torch.float32), expected()
    size = torch.stack([part.norm() for part in whole]).norm()
    scaler, optimiser = torch.amp.GradScaler("cpu", init_scale=2.0**10), torch.optim.SGD(model.parameters(), 1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.autocast("cpu", torch.float16):
        criterion, batch = NORM.criterion(ENGINES[engine]), cast(NORM.batch(), torch.float32)
        loss = criterion.backward(model, *batch, scaler=scaler).loss if at_once else criterion(model, *batch)
    if not at_once:
        scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    total = clip_grad_norm_(model.parameters(), float(size) / 3)
    assert abs(total - size) < 1e-2 * size
    scaler.step(optimiser)
    moved = [a - b.detach() for a, b in zip(before, model.parameters(), strict=True)]
    assert distance(list(moved), [part / 3 for part in whole]) < 2e-2
