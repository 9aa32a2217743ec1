"""Self-adaptive weights: one trainable weight per sample, which grows where the term is large."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.terms.of_term import OfTerm


@dataclass(frozen=True, eq=False)
class SelfAdaptive(OfTerm):
    """Another term with one weight per sample. The weights maximise the loss while the network minimises it.

        R_n = λ_n² · R′_n

    term: what is weighted, R′, a term without a weight that gives one number per sample. weights: λ ``[N]``, an `nn.Parameter` of yours, one per point; for
    points that come in batches a callable, ``lambda batch: weights[batch.target["index"]]``. The gradient with respect to λ is right as it is; give λ to an
    optimiser that ascends, ``torch.optim.Adam([weights], lr=0.005, maximize=True)``.

    When not: where the points are drawn anew at each step, so that a weight belongs to no point; where weights must stay bounded.

    Source: McClenny & Braga-Neto 2023, "Self-adaptive physics-informed neural networks", Journal of Computational Physics 474, 111722 (arXiv:2009.04544 of
    2020).

    >>> from torch import nn
    >>> weights = nn.Parameter(torch.ones(64))
    >>> criterion = nn.MSELoss() + SelfAdaptive(GradientNorm(), weights)
    """

    term: Term
    weights: TensorRef

    def __post_init__(self) -> None:
        check_tensor_ref("SelfAdaptive: weights", self.weights)
        if not isinstance(self.term, Term):
            raise TypeError(
                f"SelfAdaptive: term must be a term without a weight, such as GradientNorm(), got {type(self.term).__name__}; weigh the whole instead"
            )
        if self.term.per == "batch":
            raise ValueError(f"SelfAdaptive: the term {self.term.name} is a statistic of the batch and has no number per sample")

    @classmethod
    def example(cls) -> "SelfAdaptive":
        return cls(GradientNorm(), lambda batch: torch.ones_like(batch.output.flatten(1)[:, 0]))

    def __call__(self, batch: Batch) -> Tensor:
        result = self.term(batch)
        weights = resolve_tensor("SelfAdaptive: weights", self.weights, batch)
        if weights.numel() != result.numel():
            raise ValueError(f"SelfAdaptive: weights have shape {list(weights.shape)}; expected one per number of the term, {list(result.shape)}")
        return weights.to(result).reshape(result.shape).square() * result
