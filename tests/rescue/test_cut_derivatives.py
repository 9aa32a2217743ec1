"""Functions whose backward is cut off from the second derivative without a mark: found by the seed, refused by double backward, right by differences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.differences.by_value import off_from_value
from tests.rescue.served import told


class _Bump(torch.autograd.Function):
    """exp(−x²); how its derivative is handed on is left to ``Cut.slope``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return torch.exp(-x * x)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.slope(*ctx.saved_tensors, gradient[0]), None


def _whole(x: Tensor, gradient: Tensor) -> Tensor:
    return gradient * (-2 * x * torch.exp(-x * x))


def _under_no_grad(x: Tensor, gradient: Tensor) -> Tensor:
    with torch.no_grad():
        return _whole(x, gradient)


def _detached(x: Tensor, gradient: Tensor) -> Tensor:
    return _whole(x, gradient.detach())


def _half(x: Tensor, gradient: Tensor) -> Tensor:
    """Half of the units lose it."""
    return torch.cat([_whole(x, gradient)[:, :4], _under_no_grad(x, gradient)[:, 4:]], 1)


CUTS = [_under_no_grad, _detached, _half]


class Net(nn.Module):
    def __init__(self, slope: Callable[[Tensor, Tensor], Tensor], share: float = 1.0, *, at_the_end: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 8)
        self.slope, self.share, self.at_the_end = slope, share, at_the_end

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        if self.at_the_end:
            return _Bump.apply(self.last(z.tanh()), self.slope)
        return self.last(self.share * _Bump.apply(z, self.slope) + (1 - self.share) * z.tanh())


def _made(*args: Any, dtype: torch.dtype = torch.float64, **kwargs: Any) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Net(*args, **kwargs).to(dtype), torch.randn(16, 3, dtype=dtype)


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_is_refused_and_auto_is_right(cut: Callable[..., Tensor], at_the_end: bool) -> None:
    model, x = _made(cut, at_the_end=at_the_end)
    with pytest.raises(ig.EngineError, match=r"a share of [\d.]+ of its backward pass is cut off .*autograd.Function _Bump"):
        off_from_value(model, x, engine="double_backward")
    with told() as messages:
        assert off_from_value(model, x) < 1e-5
    assert "takes 'finite_difference'" in messages[0]


@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-3), (torch.float32, 0.1)], ids=str)
def test_a_cut_of_a_small_part_is_found(dtype: torch.dtype, share: float) -> None:
    model, x = _made(_under_no_grad, share, dtype=dtype)
    with pytest.raises(ig.EngineError, match="is cut off"):
        ig.InputGradientLoss(None, [ig.GradientNorm()], engine="double_backward")(model, x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_same_function_without_the_cut_is_served(dtype: torch.dtype, share: float) -> None:
    model, x = _made(_whole, share, dtype=dtype)
    with told() as messages:
        ig.InputGradientLoss(None, [ig.GradientNorm()])(model, x)
    assert messages == []
    if dtype is torch.float64:
        assert off_from_value(model, x, engine="double_backward") < 1e-7


class Hooked(nn.Module):
    """A hook that is not linear clips the gradient inside, on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
        return self.last(z.tanh())


class Constant(nn.Module):
    """The sum of its outputs does not depend on the input: the input gradient is rounding and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).softmax(1)


@pytest.mark.parametrize("build", [Hooked, Constant])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_no_alarm_where_the_gradient_is_not_linear_in_its_seed_or_zero(build: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = build().to(dtype), torch.randn(16, 3, dtype=dtype)
    ig.InputGradientLoss(None, [ig.GradientNorm(power=2)], engine="double_backward")(model, x).backward()
