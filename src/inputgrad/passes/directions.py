"""Directions in which the parameters are displaced, each tensor by its own size; made anew from a few bits a number whenever they are used.

Partly along the gradient, partly at random: along the gradient alone an error across it stays hidden; at random alone it drowns in rounding. Of the
gradient two bits a number are kept: whether it is large, and its sign. So the only thing of the parameters' size is the displaced copy of them. Must not
know terms and engines.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inputgrad.devices import wide
from inputgrad.passes.in_chunks import chunks, in_order, norm, total

_LARGE = 0.5
"""From which multiple of its root mean square on an entry of the gradient is large."""
_ALONG, _ACROSS = 0.8, 0.6
"""The parts of a direction along the gradient and at random. Not equal, so that they do not cancel in a tensor of one number."""


@dataclass
class _Kept:
    """What is kept of one tensor's gradient.

    signs: +1, −1 for large entries and 0 for others, packed, one tensor a chunk; scale: 1 / their norm. pull: the gradient's norm. along, across: ⟨G, u⟩ of
    the unit direction of the signs, and of that at random for each direction.
    """

    across: list[float]
    signs: list[Tensor] = field(default_factory=list)
    scale: float = 0.0
    pull: float = 0.0
    along: float = 0.0


class Directions:
    """A few directions over all parameters, and ⟨G, u⟩ for each: what the value should change by.

    gradients: G, one tensor for each parameter or None. The list is emptied, so that nothing of it stays. Tensors with a weak gradient are weighted up. The
    signs differ from direction to direction, so that errors of two tensors do not cancel in all of them.
    """

    def __init__(self, gradients: list[Tensor | None], parameters: Sequence[Tensor], count: int) -> None:
        self.count = count
        self.parameters = list(parameters)
        self._sizes = _sizes(self.parameters)
        self._kept: list[_Kept] = []
        for number in range(len(self.parameters)):
            self._kept.append(self._of_one(number, gradients))
        pulls = [kept.pull * size for kept, size in zip(self._kept, self._sizes, strict=True)]
        typical = sum(pulls) / max(1, sum(pull > 0 for pull in pulls))
        self._weights = [min(3.0, max(0.3, (typical / pull) ** 0.5)) if pull > 0 else 0.0 for pull in pulls]
        generator = torch.Generator().manual_seed(0)
        self.silent = count if any(pull == 0 for pull in pulls) and any(pulls) else None
        """The number of one direction more, in which those tensors move alone whose gradient is exactly zero, though that of others is not."""
        self._signs = [[1] * len(pulls), *((torch.randint(0, 2, (len(pulls),), generator=generator) * 2 - 1).tolist() for _ in range(1, count))]

    @property
    def zero(self) -> bool:
        """Whether the gradient is exactly zero."""
        return all(kept.pull == 0 for kept in self._kept)

    def slope(self, direction: int) -> float:
        """⟨G, u⟩; NaN where G is not finite."""
        if direction == self.silent:
            return 0.0
        if not all(math.isfinite(kept.pull) for kept in self._kept):
            return math.nan
        parts = zip(self._kept, self._sizes, self._weights, self._signs[direction], strict=True)
        return sum(size * weight * (_ALONG * sign * kept.along + _ACROSS * kept.across[direction]) for kept, size, weight, sign in parts)

    def displaced(self, direction: int, h: float) -> AbstractContextManager[None]:
        """The parameters at θ + hu."""
        return exchanged(self.parameters, lambda number, data: self._move(direction, number, data, h))

    def _of_one(self, number: int, gradients: list[Tensor | None]) -> _Kept:
        parameter, gradient, kept = self.parameters[number], gradients[number], _Kept([0.0] * self.count)
        gradients[number] = None
        if gradient is None:
            return kept
        flat = in_order(gradient.detach(), parameter)
        kept.pull = norm(flat)
        if kept.pull != 0:
            kept.signs = [_packed(chunk, _LARGE * kept.pull / flat.numel() ** 0.5) for chunk in chunks(flat)]
            signs = list(zip(kept.signs, chunks(flat), strict=True))
            kept.scale = max(1.0, float(total(_unpacked(*pair).count_nonzero() for pair in signs))) ** -0.5
            kept.along = kept.scale * float(total((wide(_unpacked(packed, chunk)) * chunk).sum() for packed, chunk in signs))
            for direction in range(self.count):
                noise = zip(self._noise(direction, number, flat), chunks(flat), strict=True)
                kept.across[direction] = float(total((wide(a) * b).sum() for a, b in noise))
        return kept

    def _noise(self, direction: int, number: int, flat: Tensor) -> Iterator[Tensor]:
        """A random unit vector, chunk by chunk; the same at each call."""
        generator = torch.Generator(flat.device)
        for place, chunk in enumerate(chunks(flat)):
            generator.manual_seed(hash((direction, number, place)) % 2**31)
            noise = torch.randn(chunk.shape, generator=generator, dtype=chunk.dtype, device=chunk.device)
            length = flat.numel() ** 0.5 if chunk.numel() < flat.numel() else noise.norm().clamp(min=torch.finfo(noise.dtype).tiny)
            yield noise / length

    def _move(self, direction: int, number: int, data: Tensor, h: float) -> None:
        kept, weight, flat = self._kept[number], self._weights[number], in_order(data, data)
        if weight and direction == self.silent:
            return
        step = h * self._sizes[number]
        for place, (noise, chunk) in enumerate(zip(self._noise(direction, number, flat), chunks(flat), strict=True)):
            chunk.add_(noise, alpha=step * (weight * _ACROSS if weight else 1.0))
            if weight:
                chunk.add_(_unpacked(kept.signs[place], chunk), alpha=step * weight * _ALONG * self._signs[direction][number] * kept.scale)


@contextmanager
def exchanged(parameters: Sequence[Tensor], change: Callable[[int, Tensor], object]) -> Iterator[None]:
    """The parameters with other data: copies that ``change`` has worked on. The tensors themselves, their versions, ``.grad`` and hooks are as they were."""
    kept = [parameter.data for parameter in parameters]
    try:
        for number, parameter in enumerate(parameters):
            copied = parameter.data.clone()
            change(number, copied)
            parameter.data = copied
            del copied
        yield
    finally:
        for parameter, data in zip(parameters, kept, strict=True):
            parameter.data = data


def _packed(chunk: Tensor, threshold: float) -> Tensor:
    """Two bits a number: large and positive, large and negative."""
    bits = (chunk > threshold).to(torch.uint8) + 2 * (chunk < -threshold).to(torch.uint8)
    rows = torch.nn.functional.pad(bits, (0, -bits.numel() % 4)).view(-1, 4)
    return rows[:, 0] + 4 * rows[:, 1] + 16 * rows[:, 2] + 64 * rows[:, 3]


def _unpacked(packed: Tensor, like: Tensor) -> Tensor:
    """+1, −1 and 0."""
    bits = torch.stack([packed % 4, packed // 4 % 4, packed // 16 % 4, packed // 64], 1).flatten()[: like.numel()]
    return (bits % 2).to(like.dtype) - (bits // 2).to(like.dtype)


def _sizes(parameters: Sequence[Tensor]) -> list[float]:
    """The norm of each tensor; for one that is zero or much smaller than the others, such as a bias at its start, that of its share of them."""
    norms = [norm(in_order(parameter.detach(), parameter)) for parameter in parameters]
    numbers = max(1, sum(parameter.numel() for parameter in parameters))
    typical = (sum(length**2 for length in norms) / numbers) ** 0.5 or 1.0
    return [max(length, 0.1 * typical * parameter.numel() ** 0.5) for length, parameter in zip(norms, parameters, strict=True)]
