"""Linearity: how much the input gradient of the loss turns, and how far the loss departs from its linear part, near the input."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturbations.attacks import PGD, Noise, check_radius
from inputgrad.perturbations.base import Perturbation, moved, scaled
from inputgrad.places.perturbed import Perturbed
from inputgrad.terms.direction_match import cosine
from inputgrad.terms.gradient_norm import flattened
from inputgrad.terms.perturbed import PerturbedTerm
from inputgrad.variables import Key


@dataclass(frozen=True)
class GradientAlignment(PerturbedTerm):
    """The input gradient of the loss points the same way at a perturbed input.

        R_n = 1 − cos(∇ℓ(x_n), ∇ℓ(x_n + η_n))

    perturbation: what adds η: ``Noise(epsilon)``, η uniform in [−ε, ε]^D, as published; it moves an input of the model (a place cannot move an inner
    module's output). ∇ℓ: the gradient of the sample's own loss.
    hold_clean: False lets the parameter gradient through both (the paper's formula); True holds ∇ℓ(x) constant (the authors' code).
    zero_gradients: at ∇ℓ = 0 a cosine has no value. "keep" counts such a sample as R = 1 without a derivative; "drop" leaves it out and divides by the rest
    (the authors' code): then the number of a sample depends on the others of its batch.

    When not: where training is strong already (PGD of several steps), which it only slows; it costs a second double backward.

    Source: Andriushchenko & Flammarion 2020, "Understanding and improving fast adversarial training", NeurIPS, section 5.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 0.2 * GradientAlignment(Noise(0.03))
    """

    hold_clean: bool = False
    zero_gradients: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zero_gradients not in ("keep", "drop"):
            raise ValueError(f"GradientAlignment: zero_gradients={self.zero_gradients!r}: expected 'keep' or 'drop'")

    @classmethod
    def example(cls) -> "GradientAlignment":
        return cls(Noise(0.1))

    def __call__(self, batch: Batch) -> Tensor:
        here = batch.gradient(of="loss", wrt=self.key, constant=self.hold_clean)
        there = batch.gradient(of="loss", wrt=self.key, at=Perturbed(self.perturbation))
        turned = 1 - cosine(here, there)
        if self.zero_gradients == "keep":
            return turned
        kept = ((flattened(here) != 0).any(1) & (flattened(there) != 0).any(1)).to(turned)
        return turned * kept * (len(kept) / kept.sum().clamp(min=1))


@dataclass(frozen=True)
class Curvature(PerturbedTerm):
    """The change of the input gradient of the loss along one direction: small where the curvature is small.

        R_n = ‖∇ℓ(x_n + h z_n) − ∇ℓ(x_n)‖²,        by default z = sign(∇ℓ(x)) / ‖sign(∇ℓ(x))‖₂

    perturbation: what gives x + h z: ``SignDirection(h)`` as published; it moves an input of the model. z is held constant. ∇ℓ: the gradient of the sample's
    own loss. There is no 1/h²: the paper takes it into the weight.
    squared: True as in the paper; False for the norm itself, as in the authors' code, which takes the gradient of the batch's MEAN loss besides, so that
    its norm is 1/N of this one: its weight λ is λ/N here.

    When not: for piecewise-linear networks with a small h, where the gradient changes at kinks alone.

    Source: Moosavi-Dezfooli et al. 2019, "Robustness via curvature regularization, and vice versa", CVPR, section 4.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 4.0 * Curvature(SignDirection(1.5))
    """

    squared: bool = True

    @classmethod
    def example(cls) -> "Curvature":
        return cls(SignDirection(0.5))

    def __call__(self, batch: Batch) -> Tensor:
        here = batch.gradient(of="loss", wrt=self.key)
        change = flattened(batch.gradient(of="loss", wrt=self.key, at=Perturbed(self.perturbation))) - flattened(here)
        return change.square().sum(1) if self.squared else torch.linalg.vector_norm(change, dim=1)


@dataclass(frozen=True)
class LocalLinearity(PerturbedTerm):
    """The loss is nearly linear around the input, and its slope there is small.

        R_n = λ |ℓ(x + δ) − ℓ(x) − δᵀ∇ℓ(x)| + μ |δᵀ∇ℓ(x)|        with one δ = argmax_δ |ℓ(x + δ) − ℓ(x) − δᵀ∇ℓ(x)| for both

    perturbation: what gives x + δ: ``LeastLinear(epsilon)`` as published. ``lambda_``, mu: λ and μ. The modulus stands on both parts, and the parameters learn
    through ℓ(x + δ), ℓ(x) and ∇ℓ(x); δ is constant.

    When not: with a base loss that is linear or piecewise linear in the input anyway.

    Source: Qin et al. 2019, "Adversarial robustness through local linearization", NeurIPS, section 4 and algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + LocalLinearity(LeastLinear(0.03))
    """

    lambda_: float = 4.0
    mu: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_radius("LocalLinearity: lambda_", self.lambda_)
        check_radius("LocalLinearity: mu", self.mu)

    @classmethod
    def example(cls) -> "LocalLinearity":
        return cls(LeastLinear(0.1, steps=2))

    def __call__(self, batch: Batch) -> Tensor:
        gradient = batch.gradient(of="loss", wrt=self.key)
        there = self.moved(batch)
        slope = (flattened(there - batch.variable(self.key)) * flattened(gradient)).sum(1)
        departure = batch.loss_with({self.key: there}) - batch.loss() - slope
        return self.lambda_ * departure.abs() + self.mu * slope.abs()


@dataclass(frozen=True, eq=False)
class LeastLinear(PGD):
    """x + δ where the loss departs most from its linear part at x: ascent on |ℓ(x + δ) − ℓ(x) − δᵀ∇ℓ(x)| in the ball of radius ε.

    The settings are those of `PGD`: sign steps, where the paper takes Adam's. It needs a random start, since at δ = 0 the modulus has no slope.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of != "loss" or self.move != "ascend":
            raise ValueError(f'LeastLinear ascends on the loss: leave of="loss" and move="ascend", got of={self.of!r}, move={self.move!r}')
        if self.start == "none":
            raise ValueError('LeastLinear: start="none" is the one point where the departure has no slope; take start="uniform" or a noise')

    def uphill(self, batch: Batch, point: Tensor) -> Tensor:
        here = batch.gradient(of="loss", wrt=self.wrt, constant=True)
        linear = batch.loss().detach() + (flattened(point - batch.variable(self.wrt)) * flattened(here)).sum(1)
        side: list[Tensor] = []

        def own_loss(output: Tensor, _target: object) -> Tensor:
            losses = batch.loss(output)
            side.append((losses.detach() - linear).sign().reshape(-1, *[1] * (point.dim() - 1)))
            return losses

        gradient = batch.gradient_at(point, of=own_loss, wrt=self.wrt)
        return side[-1].to(gradient) * (gradient - here)


@dataclass(frozen=True)
class SignDirection(Perturbation):
    """x + h·z with z = sign(∇ℓ(x))/‖sign(∇ℓ(x))‖₂, a unit vector per sample. h: the length of the step, in ‖·‖₂."""

    h: float = 1.5
    wrt: Key = 0

    def __post_init__(self) -> None:
        check_radius("SignDirection: h", self.h)

    def __call__(self, batch: Batch) -> Tensor:
        sign = batch.gradient(of="loss", wrt=self.wrt, constant=True).sign()
        return moved(batch.variable(self.wrt), scaled(sign, "unit"), self.h, move="ascend", scaling="none", bounds=None)
