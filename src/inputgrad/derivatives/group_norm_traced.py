"""Group normalisation while the step is traced for a compiler: formulas in place of torch's kernels, in any layout.

Statistics of a group are taken channel by channel and then averaged by a product with a constant block matrix; written as a floor division of the channel
index, as torch's own decomposition is, they keep a compiler's loops from being vectorised. Formula in `standardised`. Must not know when it is used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from inputgrad.derivatives.standardised import Sums, combined, second_derivative
from inputgrad.derivatives.twice_differentiable import Tensors, Wanted

Average = Callable[[Tensor], Tensor]
"""Sums over each channel ``[N, C, 1, ...]`` -> means over its group, at each of its channels."""


def forward(average: Average, eps: float, x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensors]:
    mean = average(_sum(x))
    centred = x - mean
    r = torch.rsqrt(average(_sum(centred * centred)) + eps)
    y = centred * (r if w is None else r * _at_channels(w, x))
    return y if b is None else y + _at_channels(b, x), (mean, r)


def backward(average: Average, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, _b = tensors
    mean, r = kept
    x_hat = (x - mean) * r
    sums = Sums(_sum(gy), _sum(gy * x_hat))
    weight = 1.0 if w is None else _at_channels(w, x)
    gx = r * (gy * weight - average(sums.of * weight) - x_hat * average(sums.with_x * weight)) if wanted[0] else None
    return gx, sums.with_x.sum(0).flatten() if wanted[1] else None, sums.of.sum(0).flatten() if wanted[2] else None


def second(average: Average, u: Tensor, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, _b = tensors
    mean, r = kept
    x_hat = (x - mean) * r
    weight = 1.0 if w is None else _at_channels(w, x)
    of_u, of_gy = (Sums(_sum(t), _sum(t * x_hat)) for t in (u, gy))
    found = second_derivative(of_u, of_gy, _sum(u * gy), weight, mean, r, average)
    return (
        combined(found.ggy, u, x) if wanted[0] else None,
        combined(found.gx, u, gy, x) if wanted[1] else None,
        found.gw.sum(0).flatten() if wanted[2] else None,
        None,
    )


def _sum(t: Tensor) -> Tensor:
    return t.sum(tuple(range(2, t.dim())), keepdim=True) if t.dim() > 2 else t


def _at_channels(w: Tensor, x: Tensor) -> Tensor:
    return w.view(1, -1, *[1] * (x.dim() - 2))
