"""Derivatives of exponentials, logarithms, powers, roots and error functions to the fourth order, in closed form, as in `derivatives`."""

import math

import torch
from torch import Tensor

from inputgrad.operators.taylor.algebra import Derivative
from inputgrad.operators.taylor.rules.derivatives import TensorTower, Tower, first, scaled


def exp(z: Tensor, n: int) -> TensorTower:
    e = torch.exp(z)
    return e, [e] * n


def expm1(z: Tensor, n: int) -> TensorTower:
    return torch.expm1(z), [torch.exp(z)] * n


def exponential(z: Tensor, n: int, base: float) -> TensorTower:
    """``base ** z``."""
    e = torch.pow(base, z)
    return e, [e * math.log(base) ** order for order in range(1, n + 1)]


def exp2(z: Tensor, n: int) -> TensorTower:
    return exponential(z, n, 2.0)


def log(z: Tensor, n: int) -> TensorTower:
    q = 1 / z
    return torch.log(z), first(n, lambda: q, lambda: -(q**2), lambda: 2 * q**3, lambda: -6 * q**4)


def log2(z: Tensor, n: int) -> TensorTower:
    return torch.log2(z), scaled(1 / math.log(2), log(z, n)[1])


def log10(z: Tensor, n: int) -> TensorTower:
    return torch.log10(z), scaled(1 / math.log(10), log(z, n)[1])


def log1p(z: Tensor, n: int) -> TensorTower:
    return torch.log1p(z), log(1 + z, n)[1]


def power(z: Tensor, n: int, exponent: float) -> Tower:
    """``z ** exponent``: falling powers, which end where a whole exponent has come to 0."""
    parts: list[Derivative] = []
    factor = 1.0
    for order in range(n):
        factor *= exponent - order
        rest = exponent - order - 1
        parts.append(None if factor == 0 else factor if rest == 0 else z * factor if rest == 1 else torch.pow(z, rest) * factor)
    return torch.pow(z, exponent), parts


def square(z: Tensor, n: int) -> Tower:
    return torch.square(z), power(z, n, 2)[1]


def sqrt(z: Tensor, n: int) -> TensorTower:
    root = torch.sqrt(z)
    q = 1 / z
    return root, first(n, lambda: 0.5 / root, lambda: -0.25 / root * q, lambda: 0.375 / root * q**2, lambda: -0.9375 / root * q**3)


def rsqrt(z: Tensor, n: int) -> TensorTower:
    r = torch.rsqrt(z)
    q = r.square()
    return r, first(n, lambda: -0.5 * r * q, lambda: 0.75 * r * q**2, lambda: -1.875 * r * q**3, lambda: 6.5625 * r * q**4)


def reciprocal(z: Tensor, n: int) -> TensorTower:
    q = torch.reciprocal(z)
    return q, first(n, lambda: -(q**2), lambda: 2 * q**3, lambda: -6 * q**4, lambda: 24 * q**5)


def erf(z: Tensor, n: int) -> TensorTower:
    zz = z.square()
    d = torch.exp(-zz) * (2 / math.sqrt(math.pi))
    return torch.erf(z), first(n, lambda: d, lambda: -2 * z * d, lambda: (4 * zz - 2) * d, lambda: z * (12 - 8 * zz) * d)


def erfc(z: Tensor, n: int) -> TensorTower:
    return torch.erfc(z), scaled(-1, erf(z, n)[1])
