"""Vector fields: the kinetic energy of a field along its points, and random normal directions of its output."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.heads import FixedProjection, Head
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_match import Reduction
from inputgrad.terms.gradient_norm import flattened
from inputgrad.variables import Key


@dataclass(frozen=True)
class NormalProjection(Head):
    """``n`` random directions v ~ N(0, 1)^C of the output per sample: s_k = ⟨v_k, f(x)⟩, drawn anew each step; E v vᵀ = 1 for each."""

    n: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"NormalProjection: n must be a whole number of directions, at least 1; got {self.n!r}")

    def __call__(self, output: Tensor, target: object) -> Tensor:
        return self.drawn(output)(output, target)

    def drawn(self, output: Tensor) -> Head:
        flat = output.detach().flatten(1)
        return FixedProjection(torch.randn(flat.shape[0], self.n, flat.shape[1], dtype=flat.dtype, device=flat.device))


@dataclass(frozen=True)
class KineticEnergy(Term):
    """The kinetic energy of a vector field: the squared length of the model's output.

        R_n = ‖f(z_n)‖²₂,   with reduction="mean": 1/(2D) ‖f(z_n)‖²₂

    reduction: "sum" over the D features, or "mean" with the factor ½.
    f: the model, which gives dz/dt at z, the input. No input gradient is taken: a companion of the penalties on ∂f/∂z.

    When not: for models whose output is not a velocity.

    Source: Finlay, Jacobsen, Nurbekyan & Oberman 2020, "How to train your neural ODE: the world of Jacobian and kinetic regularization", ICML.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 0.01 * KineticEnergy()
    """

    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        if self.reduction not in ("sum", "mean"):
            raise ValueError(f"KineticEnergy: reduction={self.reduction!r}: {nearest(self.reduction, ('sum', 'mean'))}")

    def variables(self) -> tuple[Key, ...]:
        return ()  # it asks for no input gradient

    def __call__(self, batch: Batch) -> Tensor:
        squares = flattened(batch.output).square()
        return squares.sum(1) if self.reduction == "sum" else squares.mean(1) / 2
