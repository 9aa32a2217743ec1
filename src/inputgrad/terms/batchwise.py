"""Statistics of the batch: means that belong to the whole batch, and noise that is scaled by it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from inputgrad.perturbations.base import Perturbation
from inputgrad.terms.base import Per, Term
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.terms.of_term import OfTerm
from inputgrad.torch_internals.draws import uniform_like
from inputgrad.variables import Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@dataclass(frozen=True, eq=False)
class BatchMean(OfTerm):
    """The mean of another term over the batch, declared to be a statistic of the batch.

        R = mean_n R_n

    term: a term that gives one number per sample, R_n, each of which depends on the whole batch: through a standard deviation, a mean, a mask. Its value is
    that of the term itself; that it is ``per="batch"`` says that it does not split into micro-batches or shares (``fraction=``).

    When not: where each number depends on its own sample alone, as in most terms. The library takes the mean by itself.
    Source: none; it is made for DRAGAN (Kodali et al. 2017), whose noise is scaled by the standard deviation of the batch.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 0.1 * BatchMean(GradientNorm())
    """

    per: ClassVar[Per] = "batch"
    term: Term

    def __post_init__(self) -> None:
        if not isinstance(self.term, Term):
            raise TypeError(f"BatchMean: term must be a term without a weight, such as GradientNorm(), got {type(self.term).__name__}; weigh the mean instead")
        if self.term.per == "batch":
            raise ValueError(f"BatchMean: the term {self.term.name} is a statistic of the batch already; use it as it is")

    @classmethod
    def example(cls) -> "BatchMean":
        return cls(GradientNorm())

    def __call__(self, batch: "Batch") -> Tensor:
        result = self.term(batch)
        if not isinstance(result, Tensor) or result.dim() != 1:
            got = f"shape {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"BatchMean: the term {self.term.name} must return one number per sample, [N]; got {got}")
        return result.mean()


@dataclass(frozen=True)
class BatchNoise(Perturbation):
    """x̃ = x + size · std(x) · u: noise in proportion to the standard deviation of the batch.

        u ~ U(0, 1)^D, one for each feature;   std: ONE number, over the batch and all features, with divisor N·D

    size: 0.5 in the authors' code of DRAGAN (Kodali et al. 2017). The noise is not centred: it only ever raises a feature.
    interpolate: whether x̃ lies anywhere between x and there, x + α·(…) with one α ~ U(0, 1) per sample, as in that code; or there itself.
    wrt: the input that is moved.
    """

    size: float = 0.5
    interpolate: bool = True
    wrt: Key = 0

    def __post_init__(self) -> None:
        if not 0 <= self.size < float("inf"):
            raise ValueError(f"BatchNoise: size must be at least 0 and finite, in standard deviations of the batch; got {self.size}")

    def __call__(self, batch: "Batch") -> Tensor:
        x = batch.variable(self.wrt)
        noise = self.size * x.std(correction=0) * uniform_like(x)
        if self.interpolate:
            noise = torch.rand(x.shape[0], *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device) * noise
        return x + noise
