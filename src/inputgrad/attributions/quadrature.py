"""Quadrature on [0, 1]: points and weights, plain numbers. Knows nothing of the rest."""

import math
from functools import cache
from typing import Literal

Rule = Literal["right", "left", "midpoint", "trapezoid", "gauss_legendre"]
RULES = ("right", "left", "midpoint", "trapezoid", "gauss_legendre")
Points = tuple[tuple[float, float], ...]


@cache
def quadrature(rule: Rule, steps: int) -> Points:
    """(α_k, w_k) of ``steps`` intervals ("trapezoid": ``steps`` + 1 points; "gauss_legendre": ``steps`` points); the weights add up to 1.

    >>> quadrature("right", 2)
    ((0.5, 0.5), (1.0, 0.5))
    """
    if rule == "gauss_legendre":
        return tuple(_gauss_legendre(steps, number) for number in range(steps))
    if rule == "trapezoid":
        return tuple((k / steps, (0.5 if k in (0, steps) else 1) / steps) for k in range(steps + 1))
    shift = {"right": 1.0, "left": 0.0, "midpoint": 0.5}[rule]
    return tuple(((k + shift) / steps, 1 / steps) for k in range(steps))


def _gauss_legendre(n: int, number: int) -> tuple[float, float]:
    """A root of the Legendre polynomial P_n by Newton's method, with its weight 2 / ((1 − x²) P_n′(x)²), both taken from [−1, 1] to [0, 1]."""
    x = -math.cos(math.pi * (number + 0.75) / (n + 0.5))
    for _ in range(100):
        value, slope = _legendre(n, x)
        x -= (step := value / slope)
        if abs(step) < 1e-15:
            break
    _, slope = _legendre(n, x)
    return (1 + x) / 2, 1 / ((1 - x * x) * slope * slope)


def _legendre(n: int, x: float) -> tuple[float, float]:
    """P_n(x) and its derivative, by the recurrence."""
    before, value = 1.0, x
    for k in range(2, n + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, n * (x * value - before) / (x * x - 1)
