"""Gradients under autocast to float16: taken of a scaled number, and divided by the scale again.

A gradient below 6e-8 is zero in float16. The scale of `torch.amp.GradScaler` is on the loss: it comes too late for the input gradient, which is divided
before a term sees it, and for a program, which has computed the gradients by then. Where a scaled gradient overflows it is taken again with a smaller
scale, which the model then keeps. bfloat16 has the exponents of float32 and needs none of this.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from inputgrad.memory import memory
from inputgrad.torch_internals.tensors import largest_magnitudes, stored_values
from inputgrad.torch_internals.tracing import is_tracing

Rows = list[Sequence[Tensor | None]]


class DynamicScale:
    """A scale for each model: the first one, and what it is divided by where it was too large. The model's memory keeps it."""

    def __init__(self, purpose: str, first: float, step: float) -> None:
        self.purpose, self.first, self.step = purpose, first, step

    def of(self, model: nn.Module) -> float:
        return memory(model).scales.get(self.purpose, self.first)

    def keep(self, model: nn.Module, scale: float) -> None:
        memory(model).scales[self.purpose] = scale

    def unscaled(self, model: nn.Module, taken: Callable[[float], Rows]) -> Rows:
        """The rows of ``taken(scale)``, divided by the scale."""
        first = scale = self.of(model)
        while True:
            rows = taken(scale)
            if is_tracing() or scale == 1 or all_finite(part for row in rows for part in row):
                break
            scale = max(1.0, scale / self.step)
        if scale != first:
            self.keep(model, scale)
        return [[None if part is None else part / scale for part in row] for row in rows]


INPUT_GRADIENT_SCALE = DynamicScale("input gradient", 2.0**10, 2.0**5)
"""Of the score, for the input gradient. Not larger: where the term's own derivative goes back it is divided by it."""
LOSS_SCALE = DynamicScale("loss", 2.0**16, 2.0**2)
"""Of the loss, for the parameter gradients of a program; the first is that of `torch.amp.GradScaler`."""


def is_float16_autocast(device: torch.device) -> bool:
    """Whether gradients are computed in float16 here."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16


def widened(tensor: Tensor) -> Tensor:
    """Half precision as float32, so that squares, sums and products of scales neither overflow nor vanish; other types as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def widened_under_autocast(output: Tensor) -> Tensor:
    """What autocast hands to a loss: half precision as float32; outside of autocast the output as it is."""
    return widened(output) if torch.is_autocast_enabled(output.device.type) else output


def all_finite(parts: Iterable[Tensor | None]) -> bool:
    """Whether all numbers are finite; for plain tensors by one look at the device."""
    found = [part for part in parts if part is not None and part.numel()]
    plain: list[Tensor] = []
    others: list[Tensor] = []
    for part in found:
        (plain if type(part) in (Tensor, nn.Parameter) and part.layout == torch.strided else others).append(part)
    largest = largest_magnitudes(plain)
    if largest and not bool(torch.stack([part.isfinite().to(largest[0].device) for part in largest]).all()):
        return False
    return all(bool((stored_values(part) if part.layout == torch.sparse_coo else part).isfinite().all()) for part in others)
