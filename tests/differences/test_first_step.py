"""What differences find out about a model at the first step: gradients changed on purpose, lower precision inside, hidden branches, and their own error."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import FiniteDifference
from tests.differences.by_value import off_from_value
from tests.rescue.served import distance, told

Part = Callable[[Tensor], Tensor]


class Net(nn.Module):
    def __init__(self, part: Part, width: int = 8) -> None:
        super().__init__()
        self.first, self.last, self.part = nn.Linear(3, width), nn.Linear(width, 1), part

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x).tanh()
        return self.last((z + self.part(z * z)).tanh())


def made(part: Part, dtype: torch.dtype = torch.float64, width: int = 8) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Net(part, width).to(dtype), torch.randn(64, 3).to(dtype)


def gradients(model: nn.Module, x: Tensor, engine: Any) -> list[Tensor | None]:
    model.zero_grad()
    ig.InputGradientLoss(None, [ig.GradientNorm(power=2)], engine=engine)(model, x).backward()
    return [None if p.grad is None else p.grad.double() for p in model.parameters()]


class _Changed(torch.autograd.Function):
    """Its backward is not the derivative of its forward, on purpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, steps: float) -> Tensor:
        ctx.factor = factor
        return (x * steps).round() / steps if steps else x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient[0] * ctx.factor, None, None


def _hooked(hook: Callable[[Tensor], Tensor | None]) -> Part:
    def part(z: Tensor) -> Tensor:
        z = z.clone()
        if z.requires_grad:
            z.register_hook(hook)
        return z

    return part


CHANGED: dict[str, Part] = {
    "reversal": lambda z: _Changed.apply(z, -1.0, 0.0),
    "scaling": lambda z: _Changed.apply(z, 0.03, 0.0),
    "scaling_a_little": lambda z: _Changed.apply(z, 0.9, 0.0),
    "straight_through_rounding": lambda z: _Changed.apply(z, 1.0, 4.0),
    "hook_that_scales": _hooked(lambda g: 0.1 * g),
    "hook_that_clips": _hooked(lambda g: g.clamp(-1e-3, 1e-3)),
    "hook_on_half_of_the_units": _hooked(lambda g: g * torch.arange(8).gt(3).to(g)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", CHANGED)
def test_gradients_changed_on_purpose_are_refused(name: str, dtype: torch.dtype) -> None:
    model, x = made(CHANGED[name], dtype)
    for _ in range(2):  # an error is not remembered as a success
        with pytest.raises(ig.EngineError, match=r"the backward pass of Net is not the derivative of its forward pass.*engine='double_backward'"):
            gradients(model, x, "finite_difference")
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ig.EngineError, match="engine 'weight_as_step': the backward pass of Net"):
        ig.InputGradientLoss("mse", [0.01 * ig.GradientNorm(of="loss", power=2)], engine="weight_as_step")(model, x, torch.zeros(len(x), 1, dtype=dtype))
    with told() as messages:
        gradients(model, x, "auto")
    assert messages == []


@torch.jit.script
def _scripted_branches(z: Tensor) -> Tensor:
    return torch.relu(z - 0.3) + torch.clamp(z, -0.2, 0.2)


@torch.jit.script
def _scripted_smooth(z: Tensor) -> Tensor:
    return torch.sin(z) * z


class _LowFunction(torch.autograd.Function):
    """Computes in half precision where no graph shows it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.bfloat16().sin().to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        return gradient[0] * ctx.saved_tensors[0].bfloat16().cos().to(gradient[0].dtype)


def _autocast(z: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return F.linear(z.float(), torch.eye(z.shape[1])).to(z.dtype)


def _half_table(z: Tensor) -> Tensor:
    """A constant in half precision is rounded alike in every pass."""
    return z * torch.linspace(0, 1, z.shape[1]).bfloat16().to(z.dtype)


RIGHT: dict[str, tuple[Part, float]] = {
    "plain": (lambda z: z, 1e-8),
    "relu": (lambda z: (z - 0.3).relu(), 1e-8),
    "zeros": (lambda z: (0 * z).abs() + (0 * z).relu() + torch.maximum(0 * z, torch.zeros_like(z)) + z, 1e-8),
    "dropout": (lambda z: F.dropout(z), 1e-8),
    "max_pool": (lambda z: F.max_pool1d(z, 3, 1, 1), 1e-8),
    "hook_that_looks": (_hooked(lambda g: None), 1e-8),
    "constant": (lambda z: (z.round() - z).detach() + z, 1e-8),
    "half_table": (_half_table, 1e-8),
    "scripted": (_scripted_smooth, 1e-8),
    "cosine_similarity": (lambda z: F.cosine_similarity(z, z.sin())[:, None], 1e-8),
    "float32": (lambda z: z.float().sin().to(z.dtype), 1e-4),
    "float16": (lambda z: z.half().sin().to(z.dtype), 1e-2),
    "bfloat16": (lambda z: z.bfloat16().sin().to(z.dtype), 3e-2),
    "bfloat16_in_a_function": (_LowFunction.apply, 3e-2),
    "autocast": (_autocast, 3e-2),
}
"""Part -> the error of differences in float64. A step made for float64 is lost in a lower rounding inside."""
EXACT = {
    "float32": torch.sin,
    "float16": torch.sin,
    "bfloat16": torch.sin,
    "bfloat16_in_a_function": torch.sin,
    "autocast": lambda z: z,
    "constant": lambda z: (z.round() - z).detach() + z,
}
"""Part -> the same in the precision of the rest."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", RIGHT)
def test_right_models_are_served(name: str, dtype: torch.dtype) -> None:
    part, off = RIGHT[name]
    reference, x = made(EXACT.get(name, part))
    torch.manual_seed(7)
    expected = gradients(reference, x, "double_backward")
    model, x = made(part, dtype)
    torch.manual_seed(7)
    with told() as messages:
        found = gradients(model, x, FiniteDifference(strict=True))
    assert messages == []
    rounding = {torch.float64: 0.0, torch.float32: 1e-3, torch.bfloat16: 0.2}[dtype]
    if name != "dropout" or dtype is torch.float64:  # another type draws another mask
        assert distance(found, expected) < off + rounding


HIDDEN: dict[str, tuple[Part, str]] = {
    "scripted": (_scripted_branches, r"relu \(called by a scripted function or a kernel\)"),
    "triplet": (lambda z: F.triplet_margin_loss(z, 2 * z, 3 * z, reduction="none")[:, None], r"clamp_min \(called by triplet_margin_loss\)"),
    "scatter_reduce": (
        lambda z: torch.zeros_like(z).scatter_reduce(1, torch.zeros_like(z, dtype=torch.long), z, "amax"),
        r"scatter_reduce \(called by scatter_reduce\)",
    ),
    "quantile": (lambda z: z.quantile(0.3, 1, keepdim=True), r"sort \(called by quantile\)"),
}
if torch.__version__ >= "2.13":  # torch 2.10 has no derivative of it
    HIDDEN["aminmax"] = (lambda z: z.aminmax(dim=1, keepdim=True).max, r"aminmax \(called by aminmax\)")


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_branches_are_refused_or_warned_of(name: str) -> None:
    part, message = HIDDEN[name]
    model, x = made(part)
    for _ in range(2):
        with pytest.raises(ig.EngineError, match=f"the branch decisions inside {message} cannot be replayed"):
            gradients(model, x, FiniteDifference(strict=True))
    with told() as first:
        gradients(model, x, "finite_difference")
    with told() as second:
        gradients(model, x, "finite_difference")
    assert "cannot be replayed" in first[0]
    assert second == []


def test_an_exported_program_is_replayed() -> None:
    torch.compiler.reset()  # torch 2.6 counts the programs of earlier tests against the limit of this one
    torch.manual_seed(0)
    layers = [
        nn.Linear(6, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.Hardtanh(-0.1, 0.1),
        nn.Unflatten(1, (1, 4, 4)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4, 1),
    ]
    model, x = nn.Sequential(*layers), torch.randn(200, 6)
    exported = torch.export.export(model, (x,)).module()
    expected = gradients(copy.deepcopy(model).double(), x.double(), "double_backward")
    assert distance(gradients(exported, x, FiniteDifference(strict=True)), expected) < 1e-3


class _Once(torch.autograd.Function):
    """A ReLU, or a smooth unit, without a second derivative; the ReLU decides in its backward pass, where no tape sees it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, smooth: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.smooth = smooth
        return x.sin() if smooth else x.clamp(min=0.3)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return gradient * (x.cos() if ctx.smooth else x > 0.3), None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_auto_tells_the_error_that_it_measured(dtype: torch.dtype) -> None:
    model, x = made(lambda z: _Once.apply(z, True), dtype)
    expected = gradients(made(torch.sin)[0], x.double(), "double_backward")
    with told() as messages:
        true = distance(gradients(model, x, "auto"), expected)
    measured = float(re.findall(r"off by about ([\d.e-]+) of", messages[0])[0])
    assert measured / 30 < true < 30 * measured
    with told() as messages:
        gradients(model, x, "auto")
    assert messages == []


def test_auto_takes_no_differences_that_are_far_off() -> None:
    model, x = made(lambda z: _Once.apply(z, False), torch.float32, width=64)
    with pytest.raises(ig.EngineError, match=r"no engine supports this model.*'finite_difference' is off by about \d+%"):
        gradients(model, x, "auto")


def test_the_judge_by_value_agrees() -> None:
    """It judges the tests of other files."""
    model, x = made(RIGHT["relu"][0])
    assert off_from_value(model, x, engine="finite_difference") < 1e-6
    model, x = made(lambda z: _Once.apply(z, True))
    with told():
        gradients(model, x, "auto")
    assert off_from_value(model, x, engine="auto") < 1e-6
