"""Causal weights: the residual of an evolution equation counts at a time only where it is small at all earlier times."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from inputgrad.batch import Batch
from inputgrad.devices import moved_like
from inputgrad.operators.fields import Field
from inputgrad.operators.functions import field
from inputgrad.terms.base import Per
from inputgrad.terms.residual import OnField


@dataclass(frozen=True)
class CausalResidual(OnField):
    """The residual of an evolution equation, with weights that let later times wait until earlier ones are solved.

        R = 1/M Σ_i w_i L_i,   L_i = mean of r² over the points of segment i,   w_i = exp(−ε Σ_{k<i} L_k), constant

    function, names, wrt, outputs, at: as in `Residual`; for several equations r² is their mean. time: the name of t. segments: M; the points are sorted by t
    and cut into M of them, as many points in each as go; points on a grid of M times are so cut by their times. epsilon: ε, a number, or a tensor of yours
    that you raise in the course of training: the authors' scripts take rising values, such as 0.01, 0.1, 1, 10 and 100, each until the smallest weight is above
    0.99. ``term.weights(model, points)`` gives the weights. A statistic of the batch: it does not split into micro-batches.

    When not: for boundary-value problems without a time; where the points of a batch cover a short stretch of time only.

    Source: Wang, Sankaran & Perdikaris 2024, "Respecting causality for training physics-informed neural networks", Computer Methods in Applied Mechanics and
    Engineering 421, 116813 (arXiv:2203.07404 of 2022).

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, CausalResidual(lambda u: u.d("t") - 0.1 * u.d("xx"), names="xt", segments=4))
    """

    epsilon: float | Tensor = 1.0
    segments: int = 32
    time: str = "t"

    per: ClassVar[Per] = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.epsilon, Tensor) and not 0 <= self.epsilon < math.inf:
            raise ValueError(f"CausalResidual: epsilon must be at least 0 and finite, got {self.epsilon!r}")
        if isinstance(self.segments, bool) or not isinstance(self.segments, int) or self.segments < 1:
            raise ValueError(f"CausalResidual: segments must be a whole number of stretches of time, at least 1; got {self.segments!r}")

    @classmethod
    def example(cls) -> "CausalResidual":
        return cls(lambda u: sum(part.laplacian() for part in u), names="abc", segments=2, time="c")

    def __call__(self, batch: Batch) -> Tensor:
        u = self.field(batch)
        losses = self._losses(u, self.proven(self.equations(u), batch, u))
        return (self._weights(losses) * losses).mean()

    def weights(self, model: nn.Module, points: Any) -> Tensor:
        """The weights w ``[M]`` at these points, the earliest first; constants."""
        u = field(model, points, self.names, self.wrt, self.outputs)
        return self._weights(self._losses(u, self.equations(u)))

    def _losses(self, u: Field, equations: list[Tensor]) -> Tensor:
        """L ``[M]``."""
        squares = torch.stack([r.square() for r in equations]).mean(0)
        if len(squares) < self.segments:
            raise ValueError(f"CausalResidual: segments={self.segments} needs at least as many points, and there are {len(squares)}")
        order = u.coordinate(self.time).detach().argsort(stable=True)
        return torch.stack([part.mean() for part in squares[order].tensor_split(self.segments)])

    def _weights(self, losses: Tensor) -> Tensor:
        before = losses.detach().cumsum(0) - losses.detach()
        epsilon = moved_like(self.epsilon, before) if isinstance(self.epsilon, Tensor) else self.epsilon
        return torch.exp(-epsilon * before)
