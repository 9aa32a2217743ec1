"""Signs and directions of the input gradient: monotone, convex, free of arbitrage, aligned with a direction, diverse in an ensemble."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.devices import moved_once
from inputgrad.heads import Of, OneOutput
from inputgrad.places.base import Place
from inputgrad.places.sampling import Bound, Uniform
from inputgrad.terms.base import TermSum, Weighted
from inputgrad.terms.direction_match import DirectionMatch
from inputgrad.terms.diversity import MemberLogOdds, MemberLosses, PairwiseCosine
from inputgrad.terms.monotone import Convex, Monotone
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key

MEMBER_LOSSES, LOG_ODDS = MemberLosses(), MemberLogOdds()


def certified_monotone(
    weight: Weight = 1.0,
    *,
    features: Mapping[Any, int],
    low: Bound = 0.0,
    high: Bound = 1.0,
    n: int | None = 1024,
    margin: float = 0.0,
    reduction: Literal["sum", "max"] = "sum",
    of: Of = "output",
    wrt: Key = 0,
) -> Weighted:
    """The regulariser of certified monotone networks: no derivative of the wrong sign at uniform points of the box.

        λ · E_{x ~ U(low, high)} Σ_{i ∈ features} max(0, margin − sign_i · ∂f(x)/∂x_i)²

    weight: λ; the paper raises it until the network can be certified (the authors' scripts take 1e2 and 1e4).
    features: {number of the entry: +1 where f must rise with it, −1 where it must fall}.
    low, high: the box of the inputs, a number or a tensor of the shape of one sample.
    n: points per step, 1024 in the authors' code; None for as many as the batch has.
    margin: how much slope is asked for, 0 in the paper.
    reduction: "sum" over the features as in the formula; "max" for the worst of all points and features.
    of: what is differentiated; the output by default.
    wrt: as in `double_backpropagation`.

    The authors' script for COMPAS takes margin 0.2 and ``reduction="max"``. Their script for MNIST takes margin 0.1 and the mean over points and features,
    1/F of the sum for F features. Both scripts also penalise the inner layers in the same way.

    When not: where the data fill a small part of the box: most points then say nothing about them; use `Monotone` at the data too. Points are drawn, so that
    this is not a proof: the paper adds a certificate by mixed-integer programming.
    Source: Liu, Han, Zhang & Liu 2020, "Certified monotonic neural networks", NeurIPS, the regulariser R(f).

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + certified_monotone(10.0, features={0: +1, 3: -1})
    """
    return weight * Monotone(features, margin=margin, power=2, reduction=reduction, of=of, wrt=wrt, at=Uniform(low, high, n, wrt))


def no_arbitrage(
    *, maturity: int, strike: int, calendar: Weight = 1.0, butterfly: Weight = 1.0, of: Of = "output", wrt: Key = 0, at: Place | None = None
) -> TermSum:
    """No static arbitrage in a surface of call prices: rising with the maturity, convex in the strike.

        λ₁ · mean_n max(0, −∂P(x_n)/∂T) + λ₂ · mean_n max(0, −∂²P(x_n)/∂k²)

    maturity: the number of the entry of x that is the maturity T.
    strike: the number of the entry of x that is the strike k.
    calendar: λ₁, the weight of the condition on the maturity.
    butterfly: λ₂, the weight of the condition on the strike.
    of: the price P; the model's one output by default.
    wrt: the input x.
    at: as in `jacobian_regularization`.
    P: the price, a function of x.

    The authors divide prices by their mean vega and multiply the second term by another factor, which depend on their scaling of the data: choose yours. The
    first term is a `Monotone`, the second a `Convex`, which differentiates twice by itself (see there).

    When not: for networks of ReLU units (no second derivative); for implied volatilities, which have other conditions.
    Source: Chataigner, Crépey & Dixon 2020, "Deep local volatility", Risks 8(3), the soft constraints.

    >>> from torch import nn
    >>> criterion = nn.L1Loss() + no_arbitrage(maturity=0, strike=1)
    """
    rising = Monotone({maturity: +1}, power=1, of=of, wrt=wrt, at=at)
    convex = Convex({strike: +1}, power=1, of=of, wrt=wrt, at=at)
    return TermSum((*(calendar * rising).weighted(), *(butterfly * convex).weighted()))


def gradient_alignment(weight: Weight = 0.5, *, of: Of = MEMBER_LOSSES, wrt: Key = 0) -> Weighted:
    """Diversity training: the gradients of the losses of an ensemble's members point in different directions.

        λ · mean_n log Σ_{i<j} exp(cos(∂ℓ_ni/∂x_n, ∂ℓ_nj/∂x_n))

    weight: λ, 0.5 as in the public implementation.
    of: the losses of the members, ``[N, M]``; their cross-entropies by default, ``MemberLosses(...)`` for another loss.
    wrt: as in `double_backpropagation`.
    ℓ_i: the loss of member i.

    The model returns the members' logits stacked, ``[N, M, C]``, and the base loss is the mean of the members' own. The paper trains with leaky ReLU, since
    the gradients of ReLU networks are sparse, and with noise on the inputs; "gradient alignment loss" has nothing to do with GradAlign.

    When not: against white-box attacks on the whole ensemble, for which it was not made: it lowers the transfer of attacks between members.
    Source: Kariyappa & Qureshi 2019, "Improving adversarial robustness of ensembles with diversity training", arXiv:1901.09981, the gradient alignment loss.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(lambda output, y: MemberLosses()(output, y).mean(), gradient_alignment())
    """
    return weight * PairwiseCosine(of=of, pairs="log_sum_exp", power=1, wrt=wrt)


def locally_independent(weight: Weight = 0.01, *, of: Of = LOG_ODDS, wrt: Key = 0) -> Weighted:
    """Locally independent training (LIT): the members of an ensemble have perpendicular input gradients.

        λ · mean_n Σ_{i<j} cos²(∂f_i(x_n)/∂x_n, ∂f_j(x_n)/∂x_n)

    weight: λ, 0.01 as in the authors' code.
    of: the scores of the members, ``[N, M]``; by default their log-odds for two classes, where the model returns ``[N, M, 2]``. For more classes the authors
      take the cross-entropy, ``MemberLosses()``; for regression, with outputs ``[N, M]``, take ``heads.EachOutput()``.
    wrt: as in `double_backpropagation`.
    f_i: the score of member i.

    The authors' code sums over the batch where the paper has the expectation, as here, and adds 1e-6 to the product of the squared norms. Each pair counts
    once.

    When not: where a single direction explains the data, such as one feature: the members must then be wrong to differ.
    Source: Ross, Pan, Celi & Doshi-Velez 2020, "Ensembles of locally independent prediction models", AAAI, CosIndepErr.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(lambda output, y: MemberLosses()(output, y).mean(), locally_independent(0.1))
    """
    return weight * PairwiseCosine(of=of, pairs="sum", power=2, wrt=wrt)


@dataclass(frozen=True, eq=False)
class Towards:
    """The direction from each sample to a given point, ``r − x``: ``DirectionMatch(Towards(r))``. r: of the shape of one sample, or one per sample."""

    point: Tensor
    wrt: Key = 0

    def __call__(self, batch: Batch) -> Tensor:
        here = batch.variable(self.wrt)
        if self.point.shape not in (here.shape, here.shape[1:]):
            raise ValueError(f"Towards: point must have the shape of one sample, {list(here.shape[1:])}; got {list(self.point.shape)}")
        return moved_once(self.point, here.device, here.dtype) - here


def perceptually_aligned(weight: Weight = 1.0, *, representatives: Tensor, wrt: Key = 0) -> TermSum:
    """Perceptually aligned gradients: the gradient of each class's logit points from the sample to an image of that class.

        λ/C · Σ_t mean_n (1 − cos(∂f_t(x_n)/∂x_n, r_t − x_n))

    weight: λ, which the paper chooses for each data set.
    representatives: r, ``[C, *input]``: the mean image of each class, or one image of it.
    wrt: as in `double_backpropagation`.
    f_t: the logit of class t of C.

    For other directions, such as the score of a diffusion model, add `DirectionMatch` terms of your own. The authors' code takes the gradient of
    −cross-entropy with label t in place of the logit, and 10 times the mean over the classes, CIFAR's ten: its coefficients 1.5 (ResNet-18) and 3.0 (ViT) are
    weights of 15 and 30 here.

    When not: with many classes, since every class costs a backward pass; where class means do not look like members of the class (photographs: take images).
    Source: Ganz, Kawar & Elad 2023, "Do perceptually aligned gradients imply robustness?", ICML.

    >>> import torch
    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + perceptually_aligned(0.5, representatives=torch.rand(10, 1, 8, 8))
    """
    if not isinstance(representatives, Tensor) or representatives.dim() < 2 or representatives.shape[0] < 2:
        got = list(representatives.shape) if isinstance(representatives, Tensor) else type(representatives).__name__
        raise ValueError(f"perceptually_aligned: representatives must be one input a class, a tensor [C, *input] with C of at least 2 classes; got {got}")
    share = 1 / representatives.shape[0]
    parts = [share * DirectionMatch(Towards(point, wrt), of=OneOutput(label), wrt=wrt) for label, point in enumerate(representatives)]
    scaled: TermSum = weight * TermSum(tuple(parts))
    return scaled
