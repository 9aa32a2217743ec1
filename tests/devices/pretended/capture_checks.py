"""What a step may not do while a graph is captured (wait, read a generator, copy from the host), and the look for NaN at every so many steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.devices.pretended import backend
from tests.devices.pretended.checks import batch, check, slow, smooth

EXACT = ("auto", "double_backward", "reverse_over_forward")
TERMS = {
    "norm": lambda: ig.GradientNorm(of="output"),
    "of the loss": lambda: ig.GradientNorm(of="loss"),
    "each output": lambda: ig.GradientNorm(of=ig.heads.EachOutput()),
    "labels of the CPU": lambda: ig.GradientMatch(torch.ones(5, 2)),
    "direction": lambda: ig.DirectionMatch(torch.tensor([1.0, 0.0])),
    "displaced": lambda: ig.Adversarial(ig.FGSM(0.1)),
    "consistency": lambda: ig.Consistency(ig.FGSM(0.1), divergence="mse"),
    "curvature": lambda: ig.Curvature(ig.FGSM(0.1)),
    "weights that change": lambda: (lambda step: 1 / (1 + step)) * ig.GradientNorm(of="output"),
}


@contextmanager
def capturing() -> Iterator[None]:
    backend.STATE.capturing = True
    try:
        yield
    finally:
        backend.STATE.capturing = False


def on_device(model: nn.Module) -> tuple[nn.Module, Tensor, Tensor]:
    x, y = batch()
    return model.to(backend.DEVICE), x.to(backend.DEVICE), y.to(backend.DEVICE)


def captured(criterion: ig.InputGradientLoss, model: nn.Module, x: Tensor, y: Any) -> None:
    """Both forms of a step under capture, after two of each."""
    for _ in range(2):
        criterion(model, x, y).backward()
        criterion.backward(model, x, y)
    with capturing():
        criterion(model, x, y).backward()
        criterion.backward(model, x, y)


def with_dropout() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))


@check
def a_step_of_an_exact_engine_can_be_captured() -> None:
    for term in TERMS.values():
        captured(ig.InputGradientLoss("mse", term(), engine="auto"), *on_device(smooth()))


@slow
def so_can_one_of_each_engine_and_term() -> None:
    for engine in EXACT:
        for name, term in TERMS.items():
            if (engine, name) != ("reverse_over_forward", "curvature"):
                captured(ig.InputGradientLoss("mse", term(), engine=engine), *on_device(smooth()))


@check
def so_can_one_that_draws_in_one_pass_and_one_that_draws_in_several_is_refused() -> None:
    captured(ig.InputGradientLoss("mse", ig.GradientNorm(of="output"), engine="double_backward"), *on_device(with_dropout()))
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(of="output"), engine="reverse_over_forward")
    captured(criterion, *on_device(with_dropout().eval()))
    with pytest.raises(ig.EngineError, match=r"captured on pretended:0, and Sequential draws random numbers.*engine='double_backward'"):
        captured(criterion, *on_device(with_dropout()))


@check
def capture_is_refused_to_a_step_that_waits() -> None:
    """The first step with a model, and one of differences: the check is one that can fail."""
    with capturing(), pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        ig.InputGradientLoss("mse", ig.GradientNorm(of="output"))(*on_device(smooth()))
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        captured(ig.InputGradientLoss("mse", ig.GradientNorm(of="output"), engine="finite_difference"), *on_device(smooth()))


@check
def nan_is_looked_for_at_every_third_step() -> None:
    for engine in ("double_backward", "reverse_over_forward"):
        model, x, y = on_device(smooth())
        criterion = ig.InputGradientLoss("mse", ig.GradientNorm(of="output"), engine=engine)
        criterion.check_finite = 3
        waits = []
        for _ in range(9):
            backend.STATE.events.clear()
            criterion.backward(model, x, y)
            waits.append(len(backend.STATE.events))
        assert waits[3:] == [1, 0, 0, 1, 0, 0], waits
        x[0, 0] = float("nan")
        with pytest.raises(ValueError, match=r"inputs\[0\] has 1 of 10 values that are NaN or infinite"):
            criterion.backward(model, x, y)
        criterion.step_number = 10
        criterion.backward(model, x, y)
