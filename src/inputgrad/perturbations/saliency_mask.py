"""A perturbation that hides what an input gradient calls unimportant. Knows what a batch offers; knows no term and no engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.perturbations.base import Perturbation
from inputgrad.torch_internals.draws import uniform_like
from inputgrad.variables import Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch

SortedBy = Literal["gradient", "magnitude"]


@dataclass(frozen=True)
class SaliencyMask(Perturbation):
    """x̃: the features with the lowest input gradient replaced by random values between the sample's own lowest and highest.

        x̃_i = u_i ~ U(min_j x_j, max_j x_j) for the k features with the lowest ∂s/∂x_i, x_i for the others;        k = ⌊share · D⌋

    share: k/D, 0.5 in the authors' MNIST run. of: the score s; "label", the output of the true class, as in their code. by: "gradient" sorts by the gradient
    with its sign, as the paper and the code's default do; "magnitude" by |∂s/∂x_i|. shared_over: a dimension of the input, such as 1 for the channels of an
    image: the gradient is then averaged over it, what is masked is masked all along it, and each of its entries has a range of its own (their CIFAR run).
    wrt: the input, or the output of an inner module (for tokens the embedding, with ``shared_over=2``).

    When not: where a random value is itself a signal, as in one-hot or binary features.

    Source: Ismail, Corrada Bravo & Feizi 2021, "Improving deep learning interpretability by saliency guided training", NeurIPS, algorithm 1.

    >>> from torch import nn
    >>> from inputgrad.terms.consistency import Consistency
    >>> criterion = nn.CrossEntropyLoss() + Consistency(SaliencyMask(0.5))
    """

    share: float = 0.5
    of: Of = "label"
    by: SortedBy = "gradient"
    shared_over: int | None = None
    wrt: Key = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"SaliencyMask: share must be the share of features to mask, above 0 and below 1; got {self.share}")
        if self.by not in ("gradient", "magnitude"):
            raise ValueError(f"SaliencyMask: by={self.by!r}: {nearest(self.by, ('gradient', 'magnitude'))}")

    def __call__(self, batch: "Batch") -> Tensor:
        x, gradient = batch.variable(self.wrt), batch.gradient(of=self.of, wrt=self.wrt, constant=True)
        if gradient.shape != x.shape or x.dim() < 2:
            raise ValueError(f"SaliencyMask needs inputs [N, D, ...] and a head of one score per sample; got a gradient of shape {list(gradient.shape)}")
        apart = self._apart(x)
        saliency = gradient if apart is None else gradient.mean(apart, keepdim=True)
        rows = (saliency.abs() if self.by == "magnitude" else saliency).flatten(1)
        lowest = rows.topk(int(self.share * rows.shape[1]), dim=1, largest=False).indices
        masked = torch.zeros_like(rows, dtype=torch.bool).scatter(1, lowest, True).reshape(saliency.shape)
        pooled = tuple(dimension for dimension in range(1, x.dim()) if dimension != apart)
        low, high = x.amin(pooled, keepdim=True), x.amax(pooled, keepdim=True)
        uniform = uniform_like(x)
        return torch.where(masked, low + (high - low) * uniform, x)

    def _apart(self, x: Tensor) -> int | None:
        if self.shared_over is not None and not (1 <= self.shared_over < x.dim() and x.dim() > 2):
            raise ValueError(f"SaliencyMask: shared_over={self.shared_over} must be a dimension of the input other than the first, of at least three; "
                             f"got inputs {list(x.shape)}")  # fmt: skip
        return self.shared_over
