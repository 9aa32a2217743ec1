"""The table of cases on an accelerator, each engine against double backward on the CPU: ``make test-device``.

Cases that draw random numbers are compared with themselves, since generators differ from device to device.
"""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from inputgrad.torch_internals import pytree
from tests.cases import Case
from tests.devices.accelerator import DEVICE, PRECISION, REASON, moved
from tests.table import CASES, LIMITS, TOLERANCES

pytestmark = [pytest.mark.device, pytest.mark.skipif(DEVICE is None, reason=REASON)]
DRAWING = ("dropout",)
"""Models whose passes draw."""
DEVICE_TOLERANCE = 1e-8 if PRECISION is torch.float64 else 1e-3
PROGRAMS = ("mlp-norm_squared-7", "mlp-norm_of_loss-7", "cnn_group_norm-norm_squared-7", "mlp-norm_of_each-7")


def gradients(case: Case, engine: Any, model: nn.Module, inputs: Any, steps: int = 1) -> list[Tensor]:
    """By the last of some steps from the same state, on the CPU in float64."""
    target, state = case.target(), copy.deepcopy(model.state_dict())
    device, dtype = next((z.device, z.dtype) for z in pytree.leaves(inputs) if isinstance(z, Tensor))
    target = target.to(device, dtype if target.is_floating_point() else target.dtype)
    criterion = case.criterion(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(steps):
            model.load_state_dict(state)
            model.zero_grad()
            torch.manual_seed(4)
            criterion(model, inputs, target).backward()
    return [torch.zeros_like(p).cpu().double() if p.grad is None else p.grad.cpu().double() for p in model.parameters()]


def off(found: list[Tensor], expected: list[Tensor]) -> float:
    size = sum(float(part.square().sum()) for part in expected) ** 0.5
    return sum(float((a - b).square().sum()) for a, b in zip(found, expected, strict=True)) ** 0.5 / size


@pytest.mark.parametrize("engine", TOLERANCES)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.specimen.name not in DRAWING])
def test_the_gradient_is_that_of_the_cpu(engine: str, name: str) -> None:
    case = CASES[name]
    if case.specimen.name in LIMITS.get(engine, {}):
        engine = "double_backward"
    expected = gradients(case, "double_backward", case.specimen.make(), case.specimen.data(case.size))
    for steps in (1, 2):
        found = gradients(case, engine, *moved(case.specimen, case.size), steps)
        assert off(found, expected) <= max(DEVICE_TOLERANCE, TOLERANCES[engine])


@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_so_is_that_of_a_program_and_of_a_cuda_graph(name: str, mode: str | None) -> None:
    """Its results outlive the next run, which writes to the same memory."""
    case = CASES[name]
    expected = gradients(case, "double_backward", case.specimen.make(), case.specimen.data(case.size))
    assert off(gradients(case, Compiled(mode=mode), *moved(case.specimen, case.size), steps=4), expected) <= DEVICE_TOLERANCE


@pytest.mark.parametrize("engine", TOLERANCES)
def test_all_passes_of_a_step_share_the_draws_of_the_devices_generator(engine: str) -> None:
    case = CASES["dropout-norm_squared-7"]
    model, inputs = moved(case.specimen, case.size)
    expected = gradients(case, "double_backward", model, inputs)
    assert off(gradients(case, engine, model, inputs), expected) <= max(DEVICE_TOLERANCE, TOLERANCES[engine])


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward", "compiled"])
def test_a_step_on_a_stream_of_its_own_is_the_same(engine: str) -> None:
    if DEVICE is None or DEVICE.type != "cuda":
        pytest.skip("streams are CUDA's")
    case = CASES["mlp-norm_squared-7"]
    model, inputs = moved(case.specimen, case.size)
    expected = gradients(case, engine, model, inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = gradients(case, engine, model, inputs)
    torch.cuda.current_stream().wait_stream(stream)
    assert off(found, expected) <= DEVICE_TOLERANCE


def test_an_ordinary_step_waits_for_nothing() -> None:
    """By CUDA's own watch on what makes the host wait."""
    if DEVICE is None or DEVICE.type != "cuda":
        pytest.skip("the watch is CUDA's")
    case = CASES["mlp-norm_squared-7"]
    model, inputs = moved(case.specimen, case.size)
    criterion, target = case.criterion("double_backward"), case.target().to(DEVICE)
    for _ in range(2):
        criterion.backward(model, inputs, target)
    torch.cuda.set_sync_debug_mode("error")
    try:
        criterion.backward(model, inputs, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_an_equation_is_solved_there() -> None:
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).to(PRECISION)
    points, found = torch.rand(9, 2, dtype=PRECISION), []
    for place in (torch.device("cpu"), DEVICE):
        there = copy.deepcopy(model).to(place)
        criterion = ig.InputGradientLoss(None, ig.recipes.poisson(source=1.0, names="xy"))
        for _ in range(2):
            there.zero_grad()
            criterion(there, points.to(place)).backward()
        found.append([torch.zeros(()).double() if p.grad is None else p.grad.cpu().double() for p in there.parameters()])
    assert off(found[1], found[0]) <= DEVICE_TOLERANCE
