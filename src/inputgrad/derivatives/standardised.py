"""The second derivative that group, instance and batch normalisation share: everything on sums over each channel, nothing on the feature map but five products.

    x̂ = r (x − μ)      a = w gy      P t = r (t − ⟨t⟩ − x̂ ⟨t x̂⟩)      gx = P a          ⟨·⟩: the mean over what is normalised together
    ⟨u, gx⟩:   ggy = w P u        gw = Σ gy P u
               d/dx = −r² [ ⟨a x̂⟩ u + ⟨u x̂⟩ a + (⟨u a⟩ − ⟨u⟩⟨a⟩ − 3 ⟨u x̂⟩⟨a x̂⟩) x̂ − ⟨a x̂⟩⟨u⟩ − ⟨u x̂⟩⟨a⟩ ]

P is symmetric. In the last line x̂'s coefficient holds the derivative of r and that of the projections. Must not know which values are normalised together:
that is in ``average``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """Sums over each channel's positions; all of one small shape, as every coefficient below.

    of: Σ t.  with_x: Σ t x̂.
    """

    of: Tensor
    with_x: Tensor


@dataclass(frozen=True)
class SecondDerivative:
    """Coefficients, a channel each, of ⟨u, gx⟩'s derivatives: in gy (``ggy``) and in x (``gx``); gw before its sum over the batch."""

    ggy: tuple[Tensor, Tensor, Tensor]
    """of u, of x, constant"""
    gx: tuple[Tensor, Tensor, Tensor, Tensor]
    """of u, of gy, of x, constant"""
    gw: Tensor


def second_derivative(u: Sums, gy: Sums, u_gy: Tensor, w: Tensor | float, mean: Tensor, r: Tensor, average: Callable[[Tensor], Tensor]) -> SecondDerivative:
    """``u_gy``: Σ u gy. ``average``: sums over channels -> the mean over all that is normalised together, back at each of its channels."""
    u0, ux, a0, ax, ua = average(u.of), average(u.with_x), average(w * gy.of), average(w * gy.with_x), average(w * u_gy)
    gw = r * (u_gy - u0 * gy.of - ux * gy.with_x)
    q = -r * r
    x_hat = q * (ua - u0 * a0 - 3 * ux * ax)
    of_x, wr = x_hat * r, w * r
    along = -(wr * ux * r)
    return SecondDerivative(
        ggy=(wr, along, -(wr * u0) - along * mean),
        gx=(q * ax, q * ux * w, of_x, -q * (ax * u0 + ux * a0) - of_x * mean),
        gw=gw,
    )


def combined(coefficients: tuple[Tensor, ...], *maps: Tensor) -> Tensor:
    """Σ coefficientᵢ mapᵢ + the last coefficient, in as few passes over the maps as there are maps, and one."""
    result = maps[0] * coefficients[0]
    for coefficient, values in zip(coefficients[1:-1], maps[1:], strict=True):
        result.addcmul_(values, coefficient)
    return result.add_(coefficients[-1])
