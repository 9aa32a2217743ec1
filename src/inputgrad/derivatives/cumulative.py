"""logcumsumexp, whose third derivative is NaN in torch wherever a gradient is zero (it takes logarithms of gradients).

    y_i = log Σ_{j ≤ i} e^(x_j)        gx_j = e^(x_j − M) Σ_{i ≥ j} gy_i e^(M − y_i)        M: the largest x, a constant

In float64 where the device has it, and to any order. Not covered: infinite numbers, and numbers further apart than exp can span. Must not know of
models, engines or terms.
"""

from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated
from inputgrad.devices import has_float64, wide
from inputgrad.torch_internals.functorch import is_transforming

_SPAN = {True: 600.0, False: 80.0}
"""Whether the device has float64 -> how far apart numbers may be."""


def logcumsumexp(_phase: BackwardTarget, input: Tensor, dim: int, *, out: Any = None) -> Any:
    """``torch.logcumsumexp``."""
    if out is not None or not input.is_floating_point() or not differentiated(input) or is_transforming() or not input.numel():
        return NotImplemented
    low, high = input.detach().aminmax()
    return _LogCumSumExp.apply(input, dim) if bool(high - low < _SPAN[has_float64(input.device)]) else NotImplemented


class _LogCumSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        y = torch.logcumsumexp(x, dim)
        ctx.save_for_backward(x, y)
        ctx.dim = dim
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        x, y = (wide(tensor) for tensor in ctx.saved_tensors)
        largest = x.detach().amax(ctx.dim, keepdim=True)
        later = (wide(gy) * (largest - y).exp()).flip(ctx.dim).cumsum(ctx.dim).flip(ctx.dim)
        return ((x - largest).exp() * later).to(gy.dtype), None


OF_ANY_ORDER: dict[Any, Substitute] = dict.fromkeys((torch.logcumsumexp, Tensor.logcumsumexp), logcumsumexp)
"""torch's own second derivative is right; only higher ones are not."""
