"""Diversity of an ensemble: the input gradients of its members point in different directions."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from inputgrad import base_losses
from inputgrad.base_losses import Base
from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.heads import Head, Of
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.terms.base import Term
from inputgrad.variables import Key, keys_of

Pairs = Literal["log_sum_exp", "sum", "mean"]
_PAIRS = ("log_sum_exp", "sum", "mean")


@dataclass(frozen=True)
class MemberLosses(Head):
    """Each member's own loss: ``[N, M]`` scores of an ensemble whose output is ``[N, M, ...]``, M members.

    loss: of one member's output ``[N, ...]`` and the target, as `InputGradientLoss` takes its base loss; "cross_entropy" by default.
    """

    loss: Base = "cross_entropy"

    def __post_init__(self) -> None:
        if base_losses.resolve(self.loss) is None:
            raise TypeError("MemberLosses: loss must be a name or a callable (output, target), got None")

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        loss = base_losses.resolve(self.loss)
        return torch.stack([base_losses.per_sample(loss, member, target) for member in members("MemberLosses", output)], 1)


@dataclass(frozen=True)
class MemberLogOdds(Head):
    """Each member's log-odds of two classes, log p(1|x) − log p(0|x): ``[N, M]`` scores of an ensemble whose output is ``[N, M, 2]`` (logits)."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        if output.dim() != 3 or output.shape[2] != 2:
            raise ValueError(f"MemberLogOdds needs the output of an ensemble for two classes, [N, M, 2]; got {list(output.shape)}. For more: MemberLosses()")
        return output[:, :, 1] - output[:, :, 0]


def members(name: str, output: Tensor) -> tuple[Tensor, ...]:
    """The outputs of the members of an ensemble, ``[N, ...]`` each."""
    if output.dim() < 2 or output.shape[1] < 2:
        raise ValueError(f"{name} needs the stacked outputs of an ensemble, [N, M, ...] with M of at least 2 members; got {list(output.shape)}")
    return output.unbind(1)


@dataclass(frozen=True)
class PairwiseCosine(Term):
    """Cosines between the input gradients of the members of an ensemble: large where the members follow the same direction.

        R_n = log Σ_{i<j} exp(cos(g_ni, g_nj)^power)          g_ni = ∂s_ni/∂x_n, of member i

    of: a head of one score per member, ``[N, M]``: `MemberLosses` (by default of the cross-entropy), `MemberLogOdds`, or for outputs ``[N, M]`` themselves
    `heads.EachOutput`. The model returns the members' outputs stacked, ``[N, M, ...]``. Its backward passes are M per step.
    wrt, at: with respect to which input, and where.
    pairs: "log_sum_exp" as above; "sum", Σ_{i<j} cos^power; or "mean" over the pairs. power: 1, which asks for opposite directions; or 2, which asks for
    perpendicular ones. At g = 0 a cosine is 0, with the subgradient 0.

    When not: for members that share most of their layers, which then cannot differ; with power 1 and many members, since no more than two directions can be
    opposite: the least mean cosine of M of them is −1/(M − 1).

    Source: Kariyappa & Qureshi 2019, "Improving adversarial robustness of ensembles with diversity training", arXiv:1901.09981 (log_sum_exp); Ross, Pan,
    Celi & Doshi-Velez 2020, "Ensembles of locally independent prediction models", AAAI (sum, power 2).

    >>> criterion = 0.5 * PairwiseCosine()
    """

    of: Of = MemberLosses()
    pairs: Pairs = "log_sum_exp"
    power: int = 1
    wrt: Key = 0
    at: Place | None = None

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.pairs not in _PAIRS:
            raise ValueError(f"PairwiseCosine: pairs={self.pairs!r}: {nearest(self.pairs, _PAIRS)}")
        if self.power not in (1, 2):
            raise ValueError(f"PairwiseCosine: power must be 1 or 2, got {self.power!r}")
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"PairwiseCosine: wrt names one input, got {self.wrt!r}; for several add one term for each")

    def __call__(self, batch: Batch) -> Tensor:
        key = keys_of(self.wrt)[0]
        gradient = batch.gradient(of=self.of, wrt=key, at=self.at)
        if gradient.dim() != batch.variable(key).dim() + 1 or gradient.shape[1] < 2:
            raise ValueError(
                f"PairwiseCosine needs a head of one score per member, [N, M] with M of at least 2; {self.of!r} gave a gradient of shape "
                f"{list(gradient.shape)} for inputs of {list(batch.variable(key).shape)}"
            )
        cosines = pairwise_cosines(gradient)
        cosines = cosines if self.power == 1 else cosines.square()
        if self.pairs == "log_sum_exp":
            return cosines.logsumexp(1)
        return cosines.sum(1) if self.pairs == "sum" else cosines.mean(1)


def pairwise_cosines(gradient: Tensor) -> Tensor:
    """cos(g_i, g_j) of the rows i < j of ``[N, M, *input]``: ``[N, M(M − 1)/2]``; 0, with derivative 0, where either has length zero."""
    rows = gradient.flatten(2) if gradient.dim() > 2 else gradient[:, :, None]
    rows = widened(rows)
    length = torch.linalg.vector_norm(rows, dim=2, keepdim=True)
    unit = torch.where(length > 0, rows / torch.where(length > 0, length, 1), 0)
    first, second = torch.triu_indices(rows.shape[1], rows.shape[1], 1, device=rows.device)
    return (unit[:, first] * unit[:, second]).sum(2)
