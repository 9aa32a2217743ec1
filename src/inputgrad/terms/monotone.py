"""Signs of derivatives: the output rises, falls, or is convex along chosen features."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.devices import constant
from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.operators.differentiation import gradients
from inputgrad.passes.flat_models import warn_if_flat
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.terms.base import Per, Term
from inputgrad.variables import Key, keys_of

Reduction = Literal["sum", "max"]


@dataclass(frozen=True, eq=False)
class Monotone(Term):
    """Monotone in chosen features: a hinge on their derivatives that have the wrong sign.

        R_n = Σ_i max(0, margin − sign_i · ∂s_n/∂x_ni)^power

    features: {feature: sign}, with +1 where the output must rise with the feature and −1 where it must fall. The features are numbers of entries of one
    sample of the input ``wrt``, flattened, from 0 (from the end where negative); or names of inputs of the model, each as a whole, where the inputs are a dict.
    margin: how much slope is asked for; 0 for the sign alone. power: 1 or 2.
    of: what must rise or fall; for a head of K rows the hinges of all rows are added up.
    wrt: the input that holds the features.
    reduction: "sum" over the features, one number per sample; or "max": the worst of all features and samples, a statistic of the batch, which does not split
    into micro-batches. at: where; the samples themselves by default, `inputgrad.places.Uniform` for points of a whole box.

    When not: where the sign must be guaranteed: a penalty leaves small violations, and none at the sampled points is not a proof; then use a network that is
    monotone by construction, or a certificate. With power 2 and margin 0 small violations cost next to nothing: take a margin.

    Source: Liu, Han, Zhang & Liu 2020, "Certified monotonic neural networks", NeurIPS: power 2, margin 0, sum, at uniform points.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 10 * Monotone({0: +1, 3: -1})
    """

    features: Mapping[Any, int]
    margin: float = 0.0
    power: int = 2
    reduction: Reduction = "sum"
    of: Of = "output"
    wrt: Key = 0
    at: Place | None = None

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_features("Monotone", self.features, names=True)
        _check_hinge("Monotone", self.margin, self.power)
        if self.reduction not in ("sum", "max"):
            raise ValueError(f"Monotone: reduction={self.reduction!r}: {nearest(self.reduction, ('sum', 'max'))}")
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"Monotone: wrt names the one input whose entries the features number; got {self.wrt!r}. For several, give features by name")

    @property
    def per(self) -> Per:  # type: ignore[override]  # which of the two depends on a setting here
        return "batch" if self.reduction == "max" else "sample"

    @classmethod
    def example(cls) -> "Monotone":
        return cls({0: +1})

    def variables(self) -> tuple[Key, ...]:
        return tuple(self.features) if self._by_name() else keys_of(self.wrt)

    def __call__(self, batch: Batch) -> Tensor:
        violation = _hinge(self._slopes(batch), self.margin, self.power)
        return violation.amax() if self.reduction == "max" else violation.sum(1)

    def _by_name(self) -> bool:
        return isinstance(next(iter(self.features)), str)

    def _slopes(self, batch: Batch) -> Tensor:
        """sign_i · ∂s/∂x_i of every row and feature, ``[N, …]``."""
        parts = batch.gradient(of=self.of, wrt=self.variables(), at=self.at)
        if self._by_name():
            return torch.cat([sign * widened(gradient.flatten(1)) for sign, gradient in zip(self.features.values(), parts, strict=True)], 1)
        (gradient,) = parts
        here = batch.variable(keys_of(self.wrt)[0])
        flat = widened(gradient.reshape(gradient.shape[0], -1, math.prod(here.shape[1:])))  # [N, K, D]
        return _picked("Monotone", flat, self.features).flatten(1)


@dataclass(frozen=True, eq=False)
class Convex(Term):
    """Convex (or concave) along chosen features: a hinge on second derivatives that have the wrong sign.

        R_n = Σ_i max(0, margin − sign_i · ∂²s_n/∂x_ni²)^power

    features: {feature: sign}, with +1 for convex and −1 for concave; numbers of entries of one sample of the input ``wrt``, flattened.
    margin: how much curvature is asked for. power: 1 or 2.
    of: what is differentiated, a head of one score per sample. wrt: the input that holds the features. at: where; the samples themselves by default.

    Since it needs second derivatives with respect to the input, the term differentiates the model twice itself, eagerly and exactly, whatever the engine. It
    costs one backward pass for the slope and one for each feature, and the parameter gradient goes back through all of them: the model must have third
    derivatives. The samples must not be coupled (no batch normalisation in training mode).

    When not: for linear models and networks of ReLU units, whose second derivative is 0 wherever it exists, so that the term trains nothing: use smooth
    activations. For convexity in several features together, which asks more than convexity along each of them.

    Source: Chataigner, Crépey & Dixon 2020, "Deep local volatility", Risks 8(3): power 1, convex in the strike of an option.

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + 10 * Convex({0: +1})
    """

    features: Mapping[int, int]
    margin: float = 0.0
    power: int = 1
    of: Of = "output"
    wrt: Key = 0
    at: Place | None = None

    def __post_init__(self) -> None:
        _check_features("Convex", self.features, names=False)
        _check_hinge("Convex", self.margin, self.power)
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"Convex: wrt names the one input whose entries the features number; got {self.wrt!r}. For several add one term for each")

    @classmethod
    def example(cls) -> "Convex":
        return cls({0: +1})

    def variables(self) -> tuple[Key, ...]:
        return ()  # it asks for no input gradient

    def __call__(self, batch: Batch) -> Tensor:
        return _hinge(self._curvatures(batch), self.margin, self.power).sum(1)

    def _curvatures(self, batch: Batch) -> Tensor:
        """sign_i · ∂²s/∂x_i² ``[N, features]``, with the graph to the parameters."""
        (key,) = keys_of(self.wrt)
        output, (x,) = batch.output_and_variables(key, at=self.at)
        (slope,) = gradients(self._score(batch, output), [x], [key])
        slope = slope.flatten(1) if slope.dim() > 1 else slope[:, None]
        signed = [sign * self._second(slope, _column("Convex", feature, slope.shape[1]), x) for feature, sign in self.features.items()]
        warn_if_flat("Convex", batch.model, [slope], signed, ", or ig.Monotone for the slopes")
        return widened(torch.stack(signed, 1))

    def _second(self, slope: Tensor, column: int, x: Tensor) -> Tensor:
        (second,) = gradients(slope[:, column], [x])
        return second.reshape(slope.shape)[:, column]

    def _score(self, batch: Batch, output: Tensor) -> Tensor:
        score = batch.scores(output, self.of, self.at)
        if score.dim() != 1:
            raise ValueError(f"Convex needs a head of one score per sample, and {self.of!r} gave {list(score.shape)}; for one of several outputs: OneOutput(i)")
        return score


def _hinge(slopes: Tensor, margin: float, power: int) -> Tensor:
    shortfall = torch.relu(margin - slopes)
    return shortfall if power == 1 else shortfall.square()


def _picked(name: str, flat: Tensor, features: Mapping[int, int]) -> Tensor:
    """The signed entries of the chosen features, from the last dimension."""
    columns = [_column(name, feature, flat.shape[-1]) for feature in features]
    return flat[..., constant(columns, flat.device, torch.long)] * constant(list(features.values()), flat.device, flat.dtype)


def _column(name: str, feature: int, size: int) -> int:
    if -size <= feature < size:
        return feature % size
    raise ValueError(f"{name}: features names entry {feature}, and one sample of the input has {size}: choose from 0..{size - 1}")


def _check_features(name: str, features: Any, *, names: bool) -> None:
    wanted = f"{name}: features must be a dict {{feature: +1 or -1}} of numbers of entries{', or of names of inputs' if names else ''}"
    if not isinstance(features, Mapping) or not features:
        raise TypeError(f"{wanted}, and not empty; got {features!r}")
    kinds = {type(feature) for feature in features}
    if kinds not in ([{int}, {str}] if names else [{int}]):
        raise TypeError(f"{wanted}; got {list(features)}")
    for feature, sign in features.items():
        if isinstance(sign, bool) or sign not in (1, -1):
            raise ValueError(f"{name}: the sign of feature {feature!r} must be +1 or -1, got {sign!r}")


def _check_hinge(name: str, margin: float, power: int) -> None:
    if not 0 <= margin < math.inf:
        raise ValueError(f"{name}: margin must be at least 0 and finite, got {margin!r}; for the other direction change the feature's sign")
    if power not in (1, 2):
        raise ValueError(f"{name}: power must be 1 or 2, got {power!r}")
