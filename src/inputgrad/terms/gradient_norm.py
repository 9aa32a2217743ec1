"""The norm of the input gradient: how much the output varies with the input."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from inputgrad.batch import AddedUp, Batch
from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.terms.base import Term
from inputgrad.variables import Wrt


@dataclass(frozen=True)
class GradientNorm(Term):
    """The norm of the input gradient, or how far it is from a wanted norm.

        R_n = |‖g_n‖_p − center|^power        g_n = ∂s_n/∂x_n, over all input features of the sample

    side: "both", as it stands; "above": max(0, ‖g_n‖_p − center)^power, which lets smaller norms be; "below": max(0, center − ‖g_n‖_p)^power.
    p: the norm, any p ≥ 1, ``math.inf`` included.
    power: 1 for the norm itself, 2 for its square; any power ≥ 1.
    center: the wanted norm; 0 penalises every variation, 1 with ``power=2`` is the critic's penalty of WGAN-GP.
    of, wrt, at: which scalar, with respect to what, and where (see `inputgrad.heads`, `inputgrad.places`). Several ``wrt`` count as one long vector,
    and so do the K rows of a head of several rows (then ‖g_n‖₂ is the Frobenius norm of the sample's Jacobian).

    Where a norm has no derivative (g = 0, or ‖g‖ = center for power 1) the subgradient 0 is used.

    When not: as a defence against strong attacks, where it helps little; as a bound, which it does not certify.

    Source: Drucker & LeCun 1992, "Improving generalization performance using double backpropagation" (of="loss", power=2); Gulrajani et al. 2017,
    "Improved training of Wasserstein GANs" (center=1, power=2); Finlay & Oberman 2021, "Scaleable input gradient regularization for adversarial
    robustness" (of="loss", p the dual of the attack's norm). There is no factor 1/2.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 0.1 * GradientNorm(of="loss", power=2)
    """

    p: float = 2
    power: float = 1
    center: float = 0
    of: Of = "output"
    wrt: Wrt = 0
    at: Place | None = None
    side: Literal["both", "above", "below"] = "both"

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.p >= 1:
            raise ValueError(f"GradientNorm: p must be at least 1 (math.inf included), got {self.p}")
        if not (1 <= self.power < math.inf):
            raise ValueError(f"GradientNorm: power must be at least 1 and finite, got {self.power}: below 1 its derivative at zero is infinite")
        if not (0 <= self.center < math.inf):
            raise ValueError(f"GradientNorm: center must be a norm, at least 0 and finite, got {self.center}")
        if self.side not in ("both", "above", "below"):
            raise ValueError(f"GradientNorm: side={self.side!r}: {nearest(self.side, ('both', 'above', 'below'))}")
        if self.side == "below" and self.center == 0:
            raise ValueError('GradientNorm: side="below" needs a center above 0, since no norm is below 0')

    def __call__(self, batch: Batch) -> Tensor:
        gradient = flattened(batch.gradient(of=self.of, wrt=self.wrt, at=self.at))
        if self.p == 2 and self.power == 2 and self.center == 0:
            return gradient.square().sum(1)  # no root to take and to square again
        distance = torch.linalg.vector_norm(gradient, self.p, dim=1) - self.center
        if self.power == 2 and self.side == "both":
            return distance.square()
        distance = distance.abs() if self.side == "both" else torch.relu(distance if self.side == "above" else -distance)
        return distance if self.power == 1 else distance.pow(self.power)

    def _added_up(self, batch: Batch) -> AddedUp | None:
        if self.p != 2 or self.power != 2 or self.center != 0:
            return None
        gradient = flattened(batch.gradient(of=self.of, wrt=self.wrt, at=self.at))
        entries = gradient.reshape(-1)
        return None if entries.numel() > FEW else AddedUp(torch.dot(entries, entries), gradient.shape[0])


FEW = 1 << 16
"""Numbers that one dot product adds up as precisely as a sum does."""


def flattened(gradient: Tensor | tuple[Tensor, ...]) -> Tensor:
    """One row per sample, ``[N, D]``; half precision is widened, so that squares neither overflow nor vanish."""
    if not isinstance(gradient, tuple) and gradient.dim() == 2:
        return widened(gradient)
    parts = gradient if isinstance(gradient, tuple) else (gradient,)
    rows = [part.flatten(1) if part.dim() > 1 else part[:, None] for part in parts]
    joined = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
    return widened(joined)
