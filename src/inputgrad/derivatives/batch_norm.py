"""Batch normalisation in training mode. In evaluation mode it is affine in x, and torch's own will do.

The formula is in `standardised`; here: sums over each channel and the whole batch. Running statistics are updated once, in the forward pass, by torch.
Covers float32 and float64 outside autocast. Must not know of models, engines or terms.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives import normalisation
from inputgrad.derivatives.group_norm import exact
from inputgrad.derivatives.standardised import Sums, combined, second_derivative
from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import Operation, Tensors, Wanted, run

aten = torch.ops.aten

Settings = tuple[Tensor | None, Tensor | None, float, float]
"""Running mean and variance, momentum, ε."""


def _forward(settings: Settings, x: Tensor, w: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensors]:
    running_mean, running_var, momentum, eps = settings
    y, mean, r = aten.native_batch_norm(x, w, b, running_mean, running_var, True, momentum, eps)
    return y, (mean, r)


def _backward(settings: Settings, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    return tuple(aten.native_batch_norm_backward(gy, tensors[0], tensors[1], None, None, *kept, True, settings[3], list(wanted)))


def _second(settings: Settings, u: Tensors, gy: Tensor, tensors: Tensors, kept: Tensors, wanted: Wanted) -> Tensors:
    x, w, _b = tensors
    channels = (1, -1, *[1] * (x.dim() - 2))
    dims = (0, *range(2, x.dim()))
    maps = (u[0], gy, x)
    count = x.numel() // x.shape[1]
    mean, r = (t.view(channels) for t in kept)
    sums = [_sums(t, x, kept, settings[3]) for t in maps[:2]]
    u_gy = (u[0] * gy).sum(dims, keepdim=True)
    weight = 1.0 if w is None else w.view(channels)
    found = second_derivative(sums[0], sums[1], u_gy, weight, mean, r, lambda t: t / count)
    return (
        combined(found.ggy, maps[0], x) if wanted[0] else None,
        combined(found.gx, *maps) if wanted[1] else None,
        found.gw.view(-1) if wanted[2] else None,
        None,
    )


def _sums(t: Tensor, x: Tensor, kept: Tensors, eps: float) -> Sums:
    """Σ t and Σ t x̂ over each channel ``[N, C, *spatial]``: what a backward pass gives as weight gradients."""
    channels = (1, -1, *[1] * (x.dim() - 2))
    _, with_x, of = aten.native_batch_norm_backward(t, x, x.new_ones(x.shape[1]), None, None, *kept, True, eps, [False, True, True])
    return Sums(of.view(channels), with_x.view(channels))


BATCH_NORM = Operation(
    inputs=1,
    torchs_own=lambda settings, x, w, b: normalisation.batch_norm(x, None, None, w, b, True, 0.0, settings[3]),
    forward=_forward,
    backward=_backward,
    second=_second,
)


def batch_norm(
    phase: BackwardTarget,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """``torch.nn.functional.batch_norm``."""
    if not training or input.dim() < 2 or input.numel() <= input.shape[1] or not exact(input, weight, bias, running_mean, running_var):
        return NotImplemented  # one value a channel: torch's own error
    return run(BATCH_NORM, phase, (running_mean, running_var, momentum, eps), input, weight, bias)


SUBSTITUTES: dict[Any, Substitute] = {
    F.batch_norm: batch_norm,
    torch.batch_norm: lambda phase, x, w, b, mean, var, training, momentum, eps, _cudnn: batch_norm(phase, x, mean, var, w, b, training, momentum, eps),
}
