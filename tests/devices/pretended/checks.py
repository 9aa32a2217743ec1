"""What the table of steps does not show: held tensors, generators, a device without float64, adaptive weights, operators, autocast, errors.

Each check is a function that raises where something is wrong. They run in the table's process, after the backend was switched on.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import devices
from inputgrad.engines import Compiled
from tests.devices.pretended import backend

CHECKS: dict[str, Callable[[], None]] = {}
SLOW: dict[str, Callable[[], None]] = {}
"""Seconds each: ``make study``."""


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


def slow(function: Callable[[], None]) -> Callable[[], None]:
    SLOW[function.__name__] = function
    return function


def smooth(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, outputs))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 2, generator=generator), torch.rand(5, 1, generator=generator)


def events_of_the_last(step: Callable[[], Any], times: int = 3) -> list[tuple[str, str]]:
    for _ in range(times):
        backend.STATE.events.clear()
        step()
    return list(backend.STATE.events)


def compared(criterion: Callable[[], Any], model: nn.Module | None = None, tolerance: float = 1e-5, *, target: bool = True) -> list[tuple[str, str]]:
    """Steps there and here, whose gradients must agree. Gives what the host waited for or copied in the last step there."""
    model = model or smooth()
    there = copy.deepcopy(model).to(backend.DEVICE)
    x, y = batch()
    given, moved = (x, *([y] if target else [])), tuple(z.to(backend.DEVICE) for z in (x, *([y] if target else [])))
    own, others = criterion(), criterion()

    def step() -> None:
        there.zero_grad()
        own(there, *moved).backward()

    events = events_of_the_last(step)
    others(model, *given).backward()
    for (name, a), b in zip(there.named_parameters(), model.parameters(), strict=True):
        if b.grad is not None:
            assert a.grad is not None, name
            off = float((a.grad.cpu() - b.grad).norm()) / (float(b.grad.norm()) + 1e-8)
            assert off <= tolerance, f"{name} is off by {off:.1e}"
    return events


@check
def a_tensor_of_the_cpu_in_an_equation_is_moved_once() -> None:
    source = torch.linspace(0, 1, 5)
    make = lambda: ig.InputGradientLoss(None, ig.Residual(lambda u: u.laplacian() - source, names="xy"))  # noqa: E731
    assert compared(make, target=False) == []


@check
def a_tensor_that_was_written_to_is_moved_again() -> None:
    held, like = torch.zeros(3), torch.zeros(3, device=backend.DEVICE)
    first = devices.moved_once(held, like.device)
    assert devices.moved_once(held, like.device) is first
    held.add_(1)
    assert float(devices.moved_once(held, like.device).sum()) == 3


@check
def held_labels_and_directions_are_moved_once() -> None:
    labels, direction, weights = torch.rand(5, 2), torch.rand(2), torch.rand(5)
    terms = [ig.GradientMatch(labels), ig.DirectionMatch(direction, mask=weights > 0.3)]
    for term in terms:
        assert compared(lambda term=term: ig.InputGradientLoss("mse", term)) == []


@check
def a_teacher_is_moved_once() -> None:
    teacher = smooth()
    assert compared(lambda: nn.MSELoss() + ig.recipes.jacobian_matching(teacher=teacher, of="largest")) == []
    assert all(parameter.device.type == "cpu" for parameter in teacher.parameters())


@check
def a_discriminator_of_gradients_is_moved_once() -> None:
    discriminator = smooth()
    assert compared(lambda: nn.MSELoss() + ig.GradientDiscriminator(discriminator, of="output")) == []
    assert all(parameter.device.type == "cpu" for parameter in discriminator.parameters())


@check
def the_normalisation_of_differential_learning_is_moved_once() -> None:
    x, y = batch()
    data = ig.recipes.Differentials.of(x, y, torch.rand(5, 2))
    moved = [z.to(backend.DEVICE) for z in (x, y, torch.rand(5, 2))]
    assert events_of_the_last(lambda: (data.inputs(moved[0]), data.target(*moved[1:]))) == []


@check
def a_mix_that_cannot_be_mended_names_both_devices() -> None:
    source = torch.zeros(5)
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: source.clone().add_(u.laplacian()), names="xy"))
    with pytest.raises(ValueError, match=r"two devices.*pretended:0.*cpu"):
        criterion(smooth().to(backend.DEVICE), batch()[0].to(backend.DEVICE))


@check
def adaptive_weights_wait_for_nothing() -> None:
    criterion = nn.MSELoss() + ig.GradientNorm()
    model = smooth().to(backend.DEVICE)
    x, y = (z.to(backend.DEVICE) for z in batch())
    shared = [*model[0].parameters()]
    for weights in (ig.adaptive.ReLoBRaLo(criterion), ig.adaptive.GradNorm(criterion), ig.adaptive.GradientAnnealing(criterion, "base", every=1)):
        given = () if isinstance(weights, ig.adaptive.ReLoBRaLo) else (shared,)
        assert events_of_the_last(lambda w=weights, given=given: w(criterion.losses(model, x, y), *given).backward()) == []


@contextlib.contextmanager
def without_float64() -> Iterator[None]:
    backend.STATE.has_float64 = False
    devices._HAS_FLOAT64.clear()
    try:
        yield
    finally:
        backend.STATE.has_float64 = True
        devices._HAS_FLOAT64.clear()


@check
def a_device_without_float64_serves_every_engine() -> None:
    with without_float64():
        assert not devices.has_float64(backend.DEVICE)
        for engine in ("auto", "double_backward", "reverse_over_forward", "finite_difference", "weight_as_step"):
            tolerance = 3e-3 if engine in ("finite_difference", "weight_as_step") else 1e-5
            compared(lambda engine=engine: ig.InputGradientLoss("mse", 0.3 * ig.GradientNorm(of="loss"), engine=engine), tolerance=tolerance)


@slow
def a_device_without_float64_can_be_verified() -> None:
    with without_float64(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("INPUTGRAD_VERIFY", "1")
        compared(lambda: ig.InputGradientLoss("mse", 0.3 * ig.GradientNorm()))
        there, x, y = smooth().to(backend.DEVICE), *(z.to(backend.DEVICE) for z in batch())
        assert ig.validate(there, x)
        assert "wrong" not in str((nn.MSELoss() + ig.GradientNorm()).verify(there, x, y))


@check
def lengths_without_float64_neither_overflow_nor_vanish() -> None:
    with without_float64():
        for number in (1e-30, 1e30):
            found = float(devices.length(torch.full((4,), number, device=backend.DEVICE)))
            assert abs(found / (2 * number) - 1) < 1e-6, found


@check
def passes_share_the_draws_of_every_device_that_the_model_is_on() -> None:
    class Moves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Dropout(0.5), nn.Linear(64, 1)).to(backend.DEVICE)

        def forward(self, x: Tensor) -> Any:
            return self.body(x.to(backend.DEVICE))

    found = []
    backend.STATE.random = torch.Generator()
    try:
        for engine in ("double_backward", "reverse_over_forward", "finite_difference"):
            model, (x, y) = Moves(), batch()
            torch.manual_seed(5)
            ig.InputGradientLoss("mse", 0.3 * ig.GradientNorm(of="output"), engine=engine)(model, x, y.to(backend.DEVICE)).backward()
            found.append(torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]))
    finally:
        backend.STATE.random = None
    assert torch.allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert torch.allclose(found[0], found[2], rtol=1e-2, atol=1e-3)


@check
def operators_wait_for_nothing() -> None:
    model, x = smooth(2).to(backend.DEVICE), batch()[0].to(backend.DEVICE)
    for operator in (ig.operators.laplacian, ig.operators.divergence, ig.operators.jacobian):
        assert events_of_the_last(lambda operator=operator: operator(model, x)) == []


@slow
def a_program_is_traced_there_and_needs_no_tensor_of_the_cpu() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*does not support.*")
        assert compared(lambda: ig.InputGradientLoss("mse", 0.3 * ig.GradientNorm(), engine=Compiled(backend="eager"))) == []


@check
def nan_is_named_under_anomaly_detection() -> None:
    model, x, y = smooth().to(backend.DEVICE), *(z.to(backend.DEVICE) for z in batch())
    x[0, 0] = float("nan")
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(), verify=False)
    criterion(model, x, y)
    with torch.autograd.set_detect_anomaly(True, check_nan=False), pytest.raises(ValueError, match=r"inputs\[0\] has 1"):
        criterion(model, x, y)


@check
def mixing_and_waiting_are_seen() -> None:
    x = torch.ones(2, device=backend.DEVICE)
    backend.STATE.events.clear()
    float(x.sum())
    x[x > 0]
    x.cpu()
    torch.ones(2).to(backend.DEVICE)
    kinds = [what for what, _ in backend.STATE.events]
    assert kinds == ["wait: _local_scalar_dense", "wait: nonzero", "wait: index by a mask", "wait: to the CPU", "copy: to the device"], kinds
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(2)
