"""Derivatives of elementwise functions to the fourth order, in closed form.

Each function: (z, n, further arguments) -> f(z), [f′(z), …, f⁽ⁿ⁾(z)]. A derivative is a number where it is the same everywhere and None where it is zero.
At a kink it is the branch that torch takes. What several orders need is computed once.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.operators.taylor.algebra import Derivative

Tower = tuple[Tensor, Sequence[Derivative]]
TensorTower = tuple[Tensor, list[Tensor]]
"""One whose derivatives are all tensors."""


def first(n: int, *derivatives: Callable[[], Tensor]) -> list[Tensor]:
    """The first n of them, made one after the other."""
    return [derivative() for derivative in derivatives[:n]]


def scaled(factor: float, derivatives: Sequence[Tensor]) -> list[Tensor]:
    """The derivatives of factor · f."""
    return [factor * part for part in derivatives]


def tanh(z: Tensor, n: int) -> TensorTower:
    a = torch.tanh(z)
    return a, of_tanh(a, n)


def of_tanh(a: Tensor, n: int) -> list[Tensor]:
    """From the value a = tanh(z)."""
    if n == 0:
        return []
    d = torch.addcmul(a.new_ones(()), a, a, value=-1)
    return first(n, lambda: d, lambda: (a * d).mul_(-2), lambda: (d * 4).addcmul_(d, d, value=-6), lambda: d * a * (24 * d - 8))


def tan(z: Tensor, n: int) -> TensorTower:
    a = torch.tan(z)
    aa = a.square()
    d = 1 + aa
    return a, first(n, lambda: d, lambda: 2 * a * d, lambda: d * (6 * aa + 2), lambda: d * a * (16 + 24 * aa))


def sigmoid(z: Tensor, n: int) -> TensorTower:
    s = torch.sigmoid(z)
    return s, of_sigmoid(s, n)


def of_sigmoid(s: Tensor, n: int) -> list[Tensor]:
    """From the value s = sigmoid(z)."""
    if n == 0:
        return []
    d = s * (1 - s)
    dd = d * (1 - 2 * s) if n > 1 else d
    return first(n, lambda: d, lambda: dd, lambda: d * (1 - 6 * d), lambda: dd * (1 - 12 * d))


def silu(z: Tensor, n: int, inplace: bool = False) -> TensorTower:
    return F.silu(z), _times_identity(z, sigmoid(z, n)) if n else []


def softplus(z: Tensor, n: int, beta: float = 1, threshold: float = 20) -> TensorTower:
    if n == 0:
        return F.softplus(z, beta, threshold), []
    s, d = sigmoid(z * beta if beta != 1 else z, max(n - 1, 1))
    parts = [s, *[part * beta**order for order, part in enumerate(d, 1)]][:n]
    if threshold < 20:
        beyond = z.detach() * beta > threshold
        parts = [torch.where(beyond, float(order == 0), part) for order, part in enumerate(parts)]
    return F.softplus(z, beta, threshold), parts


def logsigmoid(z: Tensor, n: int) -> TensorTower:
    _, d = softplus(-z, n)
    return F.logsigmoid(z), [part if order % 2 else -part for order, part in enumerate(d, 1)]


def mish(z: Tensor, n: int, inplace: bool = False) -> TensorTower:
    if n == 0:
        return F.mish(z), []
    inner = softplus(z, n)
    return F.mish(z), _times_identity(z, composed(tanh(inner[0], n), inner[1]))


def gelu(z: Tensor, n: int, approximate: str = "none") -> TensorTower:
    if n == 0:
        return F.gelu(z, approximate=approximate), []
    if approximate == "tanh":
        c, k = math.sqrt(2 / math.pi), 0.044715
        zz = z.square()
        inner: list[Derivative] = [(1 + 3 * k * zz) * c, z * (6 * k * c), 6 * k * c, None]
        h, d = composed(tanh(z * (1 + k * zz) * c, n), inner[:n])
        return F.gelu(z, approximate=approximate), _times_identity(z, ((1 + h) / 2, scaled(0.5, d)))
    zz = z.square()
    density = torch.exp(zz / -2) * (1 / math.sqrt(2 * math.pi))
    return F.gelu(z), first(
        n,
        lambda: (1 + torch.erf(z * math.sqrt(0.5))) / 2 + z * density,
        lambda: density * (2 - zz),
        lambda: density * z * (zz - 4),
        lambda: density * (zz * (7 - zz) - 4),
    )


def sin(z: Tensor, n: int) -> TensorTower:
    s, c = torch.sin(z), torch.cos(z)
    return s, first(n, lambda: c, lambda: -s, lambda: -c, lambda: s)


def cos(z: Tensor, n: int) -> TensorTower:
    s, c = torch.sin(z), torch.cos(z)
    return c, first(n, lambda: -s, lambda: -c, lambda: s, lambda: c)


def sinh(z: Tensor, n: int) -> TensorTower:
    s, c = torch.sinh(z), torch.cosh(z)
    return s, [c, s, c, s][:n]


def cosh(z: Tensor, n: int) -> TensorTower:
    s, c = torch.sinh(z), torch.cosh(z)
    return c, [s, c, s, c][:n]


def atan(z: Tensor, n: int) -> TensorTower:
    zz = z.square()
    q = 1 / (1 + zz)
    return torch.atan(z), first(n, lambda: q, lambda: -2 * z * q**2, lambda: (6 * zz - 2) * q**3, lambda: 24 * z * (1 - zz) * q**4)


def atanh(z: Tensor, n: int) -> TensorTower:
    zz = z.square()
    q = 1 / (1 - zz)
    return torch.atanh(z), first(n, lambda: q, lambda: 2 * z * q**2, lambda: (6 * zz + 2) * q**3, lambda: 24 * z * (1 + zz) * q**4)


def asin(z: Tensor, n: int) -> TensorTower:
    zz = z.square()
    q = torch.rsqrt(1 - zz)
    return torch.asin(z), first(n, lambda: q, lambda: z * q**3, lambda: (1 + 2 * zz) * q**5, lambda: z * (9 + 6 * zz) * q**7)


def acos(z: Tensor, n: int) -> TensorTower:
    return torch.acos(z), scaled(-1, asin(z, n)[1])


def asinh(z: Tensor, n: int) -> TensorTower:
    zz = z.square()
    q = torch.rsqrt(1 + zz)
    return torch.asinh(z), first(n, lambda: q, lambda: -z * q**3, lambda: (2 * zz - 1) * q**5, lambda: z * (9 - 6 * zz) * q**7)


def acosh(z: Tensor, n: int) -> TensorTower:
    zz = z.square()
    q = torch.rsqrt(zz - 1)
    return torch.acosh(z), first(n, lambda: q, lambda: -z * q**3, lambda: (2 * zz + 1) * q**5, lambda: -z * (9 + 6 * zz) * q**7)


def tanhshrink(z: Tensor, n: int) -> TensorTower:
    a, d = tanh(z, n)
    return z - a, [1 - part if order == 1 else -part for order, part in enumerate(d, 1)]


def softsign(z: Tensor, n: int) -> TensorTower:
    sign, q = z.detach().sign(), 1 / (1 + z.abs())
    return z * q, first(n, lambda: q**2, lambda: -2 * sign * q**3, lambda: 6 * q**4, lambda: -24 * sign * q**5)


def composed(outer: TensorTower, inner: Sequence[Derivative]) -> TensorTower:
    """f(u(z)), from f and its derivatives at u and those of u."""
    f = outer[1]
    u: list[Any] = [0.0 if part is None else part for part in inner]
    n = len(f)
    terms: list[Callable[[], Tensor]] = [
        lambda: f[0] * u[0],
        lambda: f[1] * u[0] ** 2 + f[0] * u[1],
        lambda: f[2] * u[0] ** 3 + 3 * f[1] * u[0] * u[1] + f[0] * u[2],
        lambda: f[3] * u[0] ** 4 + 6 * f[2] * u[0] ** 2 * u[1] + 3 * f[1] * u[1] ** 2 + 4 * f[1] * u[0] * u[2] + f[0] * u[3],
    ]
    return outer[0], first(n, *terms)


def _times_identity(z: Tensor, tower: TensorTower) -> list[Tensor]:
    """The derivatives of z · f(z)."""
    return [z * here + order * before for order, (before, here) in enumerate(zip([tower[0], *tower[1]], tower[1], strict=False), 1)]
