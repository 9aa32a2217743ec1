"""The ReLU family: piecewise linear, so there is no second derivative, and none is handed on. torch hands on a tensor of zeros and computes with it.

    gx = slope(x) gy          ⟨u, gx⟩:   ggy = slope(x) u,   nothing to x

Covers relu, leaky_relu, hardtanh, relu6, threshold and hardsigmoid (whose second derivative torch lacks), in place too. What each keeps for the backward
pass is what torch keeps: a model may write over the rest. PReLU's slope is a weight, and torch's own will do. Must not know of models, engines or terms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated

aten = torch.ops.aten


@dataclass(frozen=True)
class Piecewise:
    """value: x -> y. in_place: the same in x's own memory. slope: (gy, x) -> gx. slope_of_value: (gy, y) -> gx, for what keeps y."""

    value: Callable[[Tensor], Tensor]
    in_place: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor] | None
    slope_of_value: Callable[[Tensor, Tensor], Tensor] | None


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piecewise: Piecewise, x: Tensor) -> Tensor:
        y = piecewise.value(x)
        ctx.save_for_backward(y if piecewise.slope is None else x)
        ctx.slope = piecewise.slope or piecewise.slope_of_value
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[None, Tensor]:
        return None, _Slope.apply(ctx.slope, gy, ctx.saved_tensors[0].detach())


class _InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piecewise: Piecewise, x: Tensor) -> Tensor:
        piecewise.in_place(x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.slope = piecewise.slope_of_value
        return x

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[None, Tensor]:
        return None, _Slope.apply(ctx.slope, gy, ctx.saved_tensors[0].detach())


class _Slope(torch.autograd.Function):
    """Linear in gy, so its own derivative is itself, as often as one likes."""

    @staticmethod
    def forward(ctx: Any, slope: Callable[[Tensor, Tensor], Tensor], gy: Tensor, sides: Tensor) -> Tensor:
        ctx.save_for_backward(sides)
        ctx.slope = slope
        return slope(gy, sides)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[None, Tensor, None]:
        return None, _Slope.apply(ctx.slope, u, ctx.saved_tensors[0]), None


LEAST = 2**15
"""Elements. By ``python -m benchmarks.crossovers`` on two cores: at 2¹⁵ a step takes 0.86 of torch's where the base loss is computed on another pass, since no
pass of zeros is made, and 1.14 where it shares the pass, which is then made anyway; from 2¹⁷ on 0.78 and 1.05."""


def _run(phase: BackwardTarget, piecewise: Piecewise, x: Tensor, inplace: bool, *, rescue: bool = False) -> Any:
    if not differentiated(x) or (inplace and piecewise.slope_of_value is None):
        return NotImplemented
    if not (rescue or x.numel() >= LEAST):
        phase.left_small = True
        return NotImplemented
    return (_InPlace if inplace else _Value).apply(piecewise, x)


_RELU = Piecewise(torch.relu, torch.relu_, None, lambda gy, y: aten.threshold_backward(gy, y, 0))
_HARDSIGMOID = Piecewise(  # torch's own backward kernel has 1/6 in float32, whatever the dtype
    aten.hardsigmoid,
    aten.hardsigmoid_,
    lambda gy, x: aten.hardtanh_backward(gy, x, -3, 3).div_(6),
    lambda gy, y: aten.hardtanh_backward(gy, y, 0, 1).div_(6),
)


def relu(phase: BackwardTarget, input: Tensor, inplace: bool = False) -> Any:
    """``torch.nn.functional.relu``."""
    return _run(phase, _RELU, input, inplace)


def leaky_relu(phase: BackwardTarget, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """``torch.nn.functional.leaky_relu``."""

    def slope(gy: Tensor, x: Tensor) -> Tensor:
        return aten.leaky_relu_backward(gy, x, negative_slope, False)

    of_value = slope if negative_slope >= 0 else None  # y then has x's sign
    return _run(phase, Piecewise(lambda x: aten.leaky_relu(x, negative_slope), lambda x: aten.leaky_relu_(x, negative_slope), slope, of_value), input, inplace)


def hardtanh(phase: BackwardTarget, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """``torch.nn.functional.hardtanh``."""
    if min_val > max_val:
        return NotImplemented

    def slope(gy: Tensor, x: Tensor) -> Tensor:
        return aten.hardtanh_backward(gy, x, min_val, max_val)

    return _run(phase, Piecewise(lambda x: aten.hardtanh(x, min_val, max_val), lambda x: aten.hardtanh_(x, min_val, max_val), slope, slope), input, inplace)


def relu6(phase: BackwardTarget, input: Tensor, inplace: bool = False) -> Any:
    """``torch.nn.functional.relu6``."""
    return hardtanh(phase, input, 0.0, 6.0, inplace)


def threshold(phase: BackwardTarget, input: Tensor, threshold: float, value: float, inplace: bool = False) -> Any:
    """``torch.nn.functional.threshold``."""
    constant = Piecewise(lambda x: aten.threshold(x, threshold, value), torch.relu_, lambda gy, x: aten.threshold_backward(gy, x, threshold), None)
    return _run(phase, constant, input, inplace)


def hardsigmoid(phase: BackwardTarget, input: Tensor, inplace: bool = False) -> Any:
    """``torch.nn.functional.hardsigmoid``."""
    return _run(phase, _HARDSIGMOID, input, inplace, rescue=True)


def _changing(substitute: Substitute) -> Substitute:
    """The form whose name ends in an underscore."""
    return lambda phase, *args, **kwargs: substitute(phase, *args, inplace=True, **kwargs)


SUBSTITUTES: dict[Any, Substitute] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu), relu),
    **dict.fromkeys((torch.relu_, Tensor.relu_), _changing(relu)),
    F.leaky_relu: leaky_relu,
    F.leaky_relu_: _changing(leaky_relu),
    F.hardtanh: hardtanh,
    F.hardtanh_: _changing(hardtanh),
    F.relu6: relu6,
    F.threshold: threshold,
    F.hardsigmoid: hardsigmoid,
}

LEAST_NUMBERS: dict[Any, int] = {function: LEAST for function, substitute in SUBSTITUTES.items() if substitute is not hardsigmoid}
"""What is left to torch where its argument holds fewer numbers."""
