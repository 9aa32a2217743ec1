"""Convolution and transposed convolution in one to three dimensions.

    y = conv(x, w) + b          gx = conv_input(gy, w)
    ⟨u, gx⟩ = ⟨conv(u, w), gy⟩, so   ggy = conv(u, w)   and   gw = conv_weight(gy, u)

It is linear in x, so nothing goes on to x or b. torch's own double backward makes gw by a forward convolution with a kernel of the size of the feature
map; here it is the weight gradient of an ordinary backward pass. Must not know of models, engines or terms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import Operation, Tensors, Wanted, as_autocast, differentiated, run

aten = torch.ops.aten


@dataclass(frozen=True)
class Geometry:
    """As in ``torch.convolution``; one number a spatial dimension."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    def value(self, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        """``[N, C, *spatial]``, weight ``[out, C / groups, *kernel]`` (transposed: ``[C, out / groups, *kernel]``) -> ``[N, out, *spatial]``."""
        return torch.convolution(x, w, b, self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups)

    def backward(self, gy: Tensor, x: Tensor, w: Tensor, wanted: Wanted) -> Tensors:
        """The gradients of x, w and the bias, those that are wanted."""
        sizes = [gy.shape[1]] if wanted[2] else None
        where = (self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups)
        return tuple(aten.convolution_backward(gy, x, w, sizes, *where, list(wanted)))


def _backward(geometry: Geometry, gy: Tensor, tensors: Tensors, _kept: Tensors, wanted: Wanted) -> Tensors:
    return geometry.backward(gy, tensors[0], tensors[1], wanted)


def _second(geometry: Geometry, u: Tensors, gy: Tensor, tensors: Tensors, _kept: Tensors, wanted: Wanted) -> Tensors:
    weight = tensors[1]
    ggy = geometry.value(u[0], weight) if wanted[0] else None
    gw = geometry.backward(gy, u[0], weight, (False, True, False))[1] if wanted[2] else None
    return ggy, None, gw, None


CONVOLUTION = Operation(
    inputs=1,
    torchs_own=lambda geometry, x, w, b: geometry.value(x, w, b),
    forward=lambda geometry, x, w, b: (geometry.value(x, w, b), ()),
    backward=_backward,
    second=_second,
)


def _convolution(dimensions: int) -> Substitute:
    def convolution(
        phase: BackwardTarget, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        each = _each(dimensions)
        sides = _in_numbers(padding, each(stride), each(dilation), weight) if isinstance(padding, str) else each(padding)
        if sides is None:
            return NotImplemented
        return _run(phase, dimensions, Geometry(each(stride), sides, each(dilation), False, [0] * dimensions, groups), input, weight, bias)

    return convolution


def _transposed(dimensions: int) -> Substitute:
    def transposed(
        phase: BackwardTarget,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Any:
        each = _each(dimensions)
        return _run(phase, dimensions, Geometry(each(stride), each(padding), each(dilation), True, each(output_padding), groups), input, weight, bias)

    return transposed


def _each(dimensions: int) -> Callable[[int | Sequence[int]], list[int]]:
    def each(value: int | Sequence[int]) -> list[int]:
        return [value] * dimensions if isinstance(value, int) else list(value) * (dimensions if len(value) == 1 else 1)

    return each


def _in_numbers(padding: str, stride: list[int], dilation: list[int], weight: Tensor) -> list[int] | None:
    """What "valid" and "same" mean; None where the two sides differ, or where torch refuses."""
    if padding == "valid":
        return [0] * len(stride)
    both = [step * (size - 1) for step, size in zip(dilation, weight.shape[2:], strict=False)]
    if padding != "same" or any(step != 1 for step in stride) or any(total % 2 for total in both) or len(both) != len(stride):
        return None
    return [total // 2 for total in both]


def _run(phase: BackwardTarget, dimensions: int, geometry: Geometry, x: Tensor, w: Tensor, b: Tensor | None) -> Any:
    if x.dim() != dimensions + 2 or not x.is_floating_point():
        return NotImplemented  # one sample without a batch dimension; complex numbers
    return run(CONVOLUTION, phase, geometry, *as_autocast(x, w, b))


def _cropped(dimensions: int, function: Any) -> Substitute:
    """A transposed convolution with output_padding, as one without whose borders are cut: torch has no third derivative of the former."""

    def transposed(
        _phase: BackwardTarget,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Any:
        each = _each(dimensions)
        cut, added = each(padding), each(output_padding)
        if not any(added) or not differentiated(input, weight, bias):
            return NotImplemented
        whole = function(input, weight, None, stride, 0, 0, groups, dilation)
        sides = [side for here, more in zip(reversed(cut), reversed(added), strict=True) for side in (-here, more - here)]
        result = F.pad(whole, sides)
        return result if bias is None else result + bias.view(-1, *[1] * dimensions)

    return transposed


OF_ANY_ORDER: dict[Any, Substitute] = {
    torch.conv_transpose1d: _cropped(1, torch.conv_transpose1d),
    torch.conv_transpose2d: _cropped(2, torch.conv_transpose2d),
    torch.conv_transpose3d: _cropped(3, torch.conv_transpose3d),
}

SUBSTITUTES: dict[Any, Substitute] = {
    torch.conv1d: _convolution(1),
    torch.conv2d: _convolution(2),
    torch.conv3d: _convolution(3),
    torch.conv_transpose1d: _transposed(1),
    torch.conv_transpose2d: _transposed(2),
    torch.conv_transpose3d: _transposed(3),
}
