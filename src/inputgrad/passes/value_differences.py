"""A parameter gradient G judged by the value V that it belongs to:

    [V(θ + hu) − V(θ − hu)] / 2h  against  ⟨G, u⟩        u: directions over all parameters, h: a small step

It knows no operation: the value is computed with first derivatives only, and only the gradient can be wrong. Must not know terms and engines.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = {torch.float64: 1e-5, torch.float32: 2e-3}
"""h, as a share of the size of each parameter tensor. Other types are too coarse."""
DIRECTIONS = 2
_FINER = 3.0
"""What the step is divided by where the first one disagrees: the misfit of a right gradient falls by the square of it, that of a wrong one stays."""


@dataclass(frozen=True)
class Misfit:
    """How far a gradient is from the change of its value.

    relative: |D − ⟨G, u⟩| / max(|D|, |⟨G, u⟩|) of the worst direction, D the difference quotient at the finer step. settled: whether D is the same at both
    steps, much closer than it is to ⟨G, u⟩: then the gradient is wrong; else rounding or kinks decide, and nothing is known. relative is infinite where
    numbers are not finite, and settled says then whether it is the gradient's alone.
    """

    relative: float
    settled: bool = True


def compare(
    value: Callable[[], float], gradients: Sequence[Tensor | None], parameters: Sequence[Tensor], tolerance: float, directions: int = DIRECTIONS
) -> Misfit | None:
    """The misfit of the worst of a few directions; None where the value is too flat for its rounding in every direction.

    value: V at the present parameters, always with the same random draws and decisions. Parameters are exchanged for displaced ones, not written to.
    """
    worst: Misfit | None = None
    middle, h = value(), min(STEPS.get(parameter.dtype, 0.0) for parameter in parameters)
    rounding = max(torch.finfo(parameter.dtype).eps for parameter in parameters)
    for direction in _directions(gradients, parameters, directions):
        expected = sum(float((g.double() * u.double()).sum()) for g, u in zip(gradients, direction, strict=True) if g is not None)
        slopes, size = _slopes(value, parameters, direction, h, middle)
        quotient = sum(slopes) / 2
        noise = 8 * rounding * max(size, abs(middle)) / h
        scale = max(abs(expected), abs(quotient))
        if not math.isfinite(scale):
            return Misfit(math.inf, settled=math.isfinite(quotient))
        if scale <= 30 * noise:
            continue
        misfit = Misfit(_outside(expected, slopes) / scale)
        if misfit.relative > tolerance:
            misfit = _at_a_finer_step(value, parameters, direction, h / _FINER, middle, quotient, expected, _FINER * noise)
        if worst is None or (misfit.settled, misfit.relative) > (worst.settled, worst.relative):
            worst = misfit
    return worst


def _at_a_finer_step(
    value: Callable[[], float],
    parameters: Sequence[Tensor],
    direction: Sequence[Tensor],
    h: float,
    middle: float,
    coarse: float,
    expected: float,
    noise: float,
) -> Misfit:
    slopes, _ = _slopes(value, parameters, direction, h, middle)
    fine = sum(slopes) / 2
    off, scale = _outside(expected, slopes), max(abs(fine), abs(expected))
    settled = abs(fine - coarse) < 0.3 * off and off > 5 * noise
    return Misfit(off / scale if scale else 0.0, settled)


def _outside(expected: float, slopes: tuple[float, float]) -> float:
    """How far ``expected`` is from the slopes to either side; 0 between them: at a kink, such as that of a norm at 0, each of these is a derivative."""
    low, high = sorted(slopes)
    return max(0.0, low - expected, expected - high)


def _slopes(
    value: Callable[[], float], parameters: Sequence[Tensor], direction: Sequence[Tensor], h: float, middle: float
) -> tuple[tuple[float, float], float]:
    """The slopes to either side along a direction, and the larger of the two values."""
    with displaced(parameters, direction, h):
        above = value()
    with displaced(parameters, direction, -h):
        below = value()
    return ((middle - below) / h, (above - middle) / h), max(abs(above), abs(below))


def _directions(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor], count: int) -> Iterator[list[Tensor]]:
    """Directions in which each tensor moves by its own size, partly along its gradient, partly at random, and in which weak tensors count too.

    Along the gradient alone an error across it stays hidden; at random alone it drowns in rounding. The signs differ from direction to direction, so that
    errors of two tensors do not cancel in all of them.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = _sizes(parameters)
    pulls = [0.0 if g is None else float(g.double().norm()) * size for g, size in zip(gradients, sizes, strict=True)]
    typical = sum(pulls) / max(1, sum(pull > 0 for pull in pulls))
    for number in range(count):
        signs = torch.randint(0, 2, (len(parameters),), generator=generator) * 2 - 1 if number else torch.ones(len(parameters))
        direction = []
        for p, g, size, pull, sign in zip(parameters, gradients, sizes, pulls, signs.tolist(), strict=True):
            random = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
            u = random / random.norm().clamp(min=torch.finfo(p.dtype).tiny)
            if g is not None and pull > 0:
                weight = min(3.0, max(0.3, (typical / pull) ** 0.5))
                u = weight * (sign * g.detach().to(p) / g.detach().norm().to(p) + u) / 2**0.5
            direction.append(size * u)
        yield direction


def _sizes(parameters: Sequence[Tensor]) -> list[float]:
    """The norm of each tensor; for one that is zero or much smaller than the others, such as a bias at its start, that of its share of them."""
    norms = [float(parameter.detach().double().norm()) for parameter in parameters]
    total = max(1, sum(parameter.numel() for parameter in parameters))
    typical = (sum(norm**2 for norm in norms) / total) ** 0.5 or 1.0
    return [max(norm, 0.1 * typical * parameter.numel() ** 0.5) for norm, parameter in zip(norms, parameters, strict=True)]


@contextmanager
def displaced(parameters: Sequence[Tensor], direction: Sequence[Tensor], h: float) -> Iterator[None]:
    """The parameters with other data, θ + hu; the tensors themselves, their versions, their ``.grad`` and their hooks are as they were, and so is the data."""
    kept = [parameter.data for parameter in parameters]
    try:
        for parameter, u in zip(parameters, direction, strict=True):
            parameter.data = torch.add(parameter.data, u, alpha=h)
        yield
    finally:
        for parameter, data in zip(parameters, kept, strict=True):
            parameter.data = data
