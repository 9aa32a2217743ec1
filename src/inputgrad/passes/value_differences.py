"""A parameter gradient G judged by the value V that it belongs to:

    [V(θ + hu) − V(θ − hu)] / 2h  against  ⟨G, u⟩        u: directions over all parameters, h: a small step

It knows no operation: the value is computed with first derivatives only, and only the gradient can be wrong. Must not know terms and engines.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from inputgrad.passes.directions import Directions

STEPS = {torch.float64: 1e-5, torch.float32: 2e-3}
"""h, as a share of the size of each parameter tensor. Other types are too coarse."""
DIRECTIONS = 2
SMALLEST = torch.finfo(torch.float64).tiny
"""Below this numbers have fewer digits than others of their type."""
_WIDER = 10.0
"""What the step is multiplied by where nothing should change."""
_FINER = 3.0
"""What the step is divided by where the first one disagrees: the misfit of a right gradient falls by the square of it, that of a wrong one stays."""


@dataclass(frozen=True)
class Misfit:
    """How far a gradient is from the change of its value.

    relative: |D − ⟨G, u⟩| / max(|D|, |⟨G, u⟩|) of the worst direction, D the difference quotient at the finer step. settled: whether D is the same at both
    steps, much closer than it is to ⟨G, u⟩: then the gradient is wrong; else rounding or kinks decide, and nothing is known. relative is infinite where
    numbers are not finite, and settled says then whether it is the gradient's alone. kink: whether some of the misfit was put down to a kink.
    """

    relative: float
    settled: bool = True
    kink: bool = False


def compare(value: Callable[[], float], directions: Directions, tolerance: float) -> Misfit | None:
    """The misfit of the worst of a few directions; None where the value is too flat for its rounding in every direction.

    value: V at the present parameters, always with the same random draws and decisions. Parameters are exchanged for displaced ones, not written to.
    """
    worst: Misfit | None = None
    middle, h = value(), min(STEPS.get(parameter.dtype.to_real(), 0.0) for parameter in directions.parameters)
    for direction in range(directions.count):
        misfit = _of_direction(value, directions, direction, h, middle, tolerance)
        if misfit is not None and not math.isfinite(misfit.relative):
            return misfit
        if misfit is not None and (worst is None or (misfit.settled, misfit.relative) > (worst.settled, worst.relative)):
            worst = misfit
    if directions.silent is not None:
        misfit = _of_direction(value, directions, directions.silent, _WIDER * h, middle, tolerance)
        if misfit is not None and misfit.settled and math.isfinite(misfit.relative):  # else the value has no slope there either
            worst = misfit if worst is None or misfit.relative > worst.relative or not worst.settled else worst
    return worst


def _of_direction(value: Callable[[], float], directions: Directions, direction: int, h: float, middle: float, tolerance: float) -> Misfit | None:
    """None where the value is too flat for its rounding."""
    expected = directions.slope(direction)
    slopes, size = _slopes(value, directions, direction, h, middle)
    quotient = sum(slopes) / 2
    if not (math.isfinite(expected) and math.isfinite(quotient)):
        return Misfit(math.inf, settled=math.isfinite(quotient))
    noise = max(8 * _rounding(directions) * max(size, abs(middle)), SMALLEST) / h
    scale = max(abs(expected), abs(quotient))
    if scale <= 30 * noise:
        return None
    misfit = Misfit(abs(expected - quotient) / scale)
    if misfit.relative > tolerance:
        return _at_a_finer_step(value, directions, direction, h / _FINER, middle, slopes, _FINER * noise)
    return misfit


def _rounding(directions: Directions) -> float:
    return max(torch.finfo(parameter.dtype).eps for parameter in directions.parameters)


def _at_a_finer_step(
    value: Callable[[], float], directions: Directions, direction: int, h: float, middle: float, coarse: tuple[float, float], noise: float
) -> Misfit:
    slopes, _ = _slopes(value, directions, direction, h, middle)
    fine, expected = sum(slopes) / 2, directions.slope(direction)
    kink = _kink(coarse, slopes)
    off = max(0.0, abs(expected - fine) - kink)
    scale = max(abs(fine), abs(expected))
    settled = abs(fine - sum(coarse) / 2) < 0.3 * off and off > 5 * noise
    return Misfit(off / scale if scale else 0.0, settled, kink > 0.01 * scale)


def _kink(coarse: tuple[float, float], fine: tuple[float, float]) -> float:
    """What would be left between the slopes to either side at a step of 0: at a kink, such as that of a norm at 0, any slope between is a derivative."""
    wide, narrow = abs(coarse[0] - coarse[1]), abs(fine[0] - fine[1])
    return max(0.0, narrow - (wide - narrow) / (_FINER - 1))


def _slopes(value: Callable[[], float], directions: Directions, direction: int, h: float, middle: float) -> tuple[tuple[float, float], float]:
    """The slopes to either side along a direction, and the larger of the two values."""
    with directions.displaced(direction, h):
        above = value()
    with directions.displaced(direction, -h):
        below = value()
    return ((middle - below) / h, (above - middle) / h), max(abs(above), abs(below))
