"""The Hessian penalty: an output should not depend on products of its inputs' components."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.terms.base import Per, Term
from inputgrad.variables import Key

Reduction = Literal["max", "max_of_outputs", "mean"]


@dataclass(frozen=True)
class HessianPenalty(Term):
    """The variance of second directional differences over random signs: twice the energy of the Hessian beside its diagonal.

        R = max_{n,c} Var_v [ (f_c(z_n + εv) − 2 f_c(z_n) + f_c(z_n − εv)) / ε² ]  ≈  max_{n,c} 2 Σ_{i≠j} (∂²f_c/∂z_i∂z_j)²,      v ∈ {−1, 1}^D

    directions: how many v are drawn for each sample and step (the paper's k, 2); Var is the unbiased variance over them. epsilon: ε, 0.1 as published.
    reduction: "max", over outputs and batch, as the authors' code has it: then the term is a statistic of the batch. "max_of_outputs", as the paper writes
    it for one z (eq. 6): one number a sample. "mean" over the outputs: one number a sample.
    wrt: the input z, or an inner module's output. No second derivative is taken: 2k forward passes, on the step's own dropout masks; at f quadratic in z
    the difference is exact. The paper's factor: its eq. 2 sums over i ≠ j; the variance is twice that (theorem 1), and the code keeps the 2, as here.

    When not: where components of z should act together, or have no axes of their own; for piecewise-linear networks and a small ε, whose second
    differences are mostly zero.

    Source: Peebles, Peebles, Zhu, Efros & Torralba 2020, "The Hessian penalty: a weak prior for unsupervised disentanglement", ECCV, eq. 2 and 3, theorem 1.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 0.1 * HessianPenalty()
    """

    directions: int = 2
    epsilon: float = 0.1
    reduction: Reduction = "max"
    wrt: Key = 0

    def __post_init__(self) -> None:
        if isinstance(self.directions, bool) or not isinstance(self.directions, int) or self.directions < 2:
            raise ValueError(f"HessianPenalty: directions must be a whole number, at least 2, since a variance is taken over them; got {self.directions!r}")
        if not 0 < self.epsilon < float("inf"):
            raise ValueError(f"HessianPenalty: epsilon must be positive and finite, got {self.epsilon}")
        if self.reduction not in ("max", "max_of_outputs", "mean"):
            raise ValueError(f"HessianPenalty: reduction={self.reduction!r}: {nearest(self.reduction, ('max', 'max_of_outputs', 'mean'))}")

    @property
    def per(self) -> Per:  # type: ignore[override]  # fixed by the class elsewhere, by a setting here
        """A statistic of the batch where the largest number of the batch is taken."""
        return "batch" if self.reduction == "max" else "sample"

    def __call__(self, batch: Batch) -> Tensor:
        z = batch.variable(self.wrt)
        signs = torch.randint(0, 2, (self.directions, *z.shape), dtype=z.dtype, device=z.device) * 2 - 1
        variances = torch.stack([self._second_difference(batch, z, v) for v in signs]).var(0).flatten(1)
        if self.reduction == "mean":
            return variances.mean(1)
        return variances.amax() if self.reduction == "max" else variances.amax(1)

    def _second_difference(self, batch: Batch, z: Tensor, v: Tensor) -> Tensor:
        """``[N, ...]`` of the output's shape; half precision is widened, since ε² divides the rounding."""
        up, down = (batch.output_with({self.wrt: z + sign * self.epsilon * v}) for sign in (1, -1))
        found = [output.float() if output.dtype in (torch.float16, torch.bfloat16) else output for output in (up, batch.output, down)]
        return (found[0] - 2 * found[1] + found[2]) / self.epsilon**2
