"""The input gradient under autocast to float16: taken of a scaled score, and divided by the scale again, before a term sees it.

A gradient below 6e-8 is zero in float16, and the scale of `torch.amp.GradScaler` is on the loss, which comes too late for it. Where the scaled gradient
overflows it is taken again with a smaller scale, which the model then keeps. bfloat16 has the exponents of float32 and needs none of this.
"""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from inputgrad.engines.tracing import tracing

_FIRST, _STEP = 2.0**10, 2.0**5
"""The first scale, and what it is divided by where it was too large. Not larger: where the term's own derivative goes back it is divided by it."""

_SCALES: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()

Rows = list[Sequence[Tensor | None]]


def scaling(device: torch.device) -> bool:
    """Whether gradients are computed in float16 here."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16


def scale_of(model: nn.Module) -> float:
    """The scale that gradients of this model are taken at."""
    return _SCALES.get(model, _FIRST)


def unscaled(model: nn.Module, taken: Callable[[float], Rows]) -> Rows:
    """The rows of ``taken(scale)``, divided by the scale."""
    first = scale = scale_of(model)
    while True:
        rows = taken(scale)
        if tracing() or scale == 1 or all(bool(part.isfinite().all()) for row in rows for part in row if part is not None):
            break
        scale = max(1.0, scale / _STEP)
    if scale != first:
        _SCALES[model] = scale
    return [[None if part is None else part / scale for part in row] for row in rows]
