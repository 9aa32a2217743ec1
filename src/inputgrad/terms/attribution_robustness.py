"""Robust attributions: integrated gradients of the loss between a sample and the neighbour whose attributions differ most."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.attributions.quadrature import quadrature
from inputgrad.batch import Batch
from inputgrad.perturbations.attacks import PGD, check_count
from inputgrad.places.samples import Given
from inputgrad.terms.gradient_norm import flattened
from inputgrad.terms.perturbed import PerturbedTerm


@dataclass(frozen=True)
class AttributionRobustness(PerturbedTerm):
    """The attributions of a sample change little in a neighbourhood: integrated gradients of the loss from the sample to a neighbour.

        R_n = ‖φ_n‖₁,   φ = (x̃ − x) ⊙ 1/m Σ_{k=1}^m ∇ℓ(x + k/m (x̃ − x))        x̃ = perturbation(x)

    perturbation: what gives x̃, a constant: ``MostAttributed(epsilon)``, which climbs on R, as published. steps: m. ℓ: the sample's own base loss. Since the
    entries of φ add up to ℓ(x̃) − ℓ(x), R is at least the change of the loss. Costs m input gradients, all of which are kept until the backward pass.

    When not: where robustness of the prediction alone is the aim: adversarial training costs a fraction.

    Source: Chen, Wu, Rastogi, Liang & Jha 2019, "Robust attribution regularization", NeurIPS (IG-NORM).

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + AttributionRobustness(MostAttributed(0.1, steps=3), steps=5)
    """

    steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("AttributionRobustness: steps", self.steps, 1)

    @classmethod
    def example(cls) -> "AttributionRobustness":
        return cls(MostAttributed(0.1, steps=1, points=2), steps=2)

    def __call__(self, batch: Batch) -> Tensor:
        x, there = batch.variable(self.key), self.moved(batch)
        total = x.new_zeros(())
        for alpha, weight in quadrature("right", self.steps):
            total = total + weight * batch.gradient(of="loss", wrt=self.key, at=Given(x + alpha * (there - x), self.key))
        return flattened((there - x) * total).abs().sum(1)


@dataclass(frozen=True, eq=False)
class MostAttributed(PGD):
    """x̃ where integrated gradients of the loss from x have the largest ‖·‖₁: ascent on `AttributionRobustness` in the ball of radius ε.

    points: how many points of the path each step takes, 10 as in the authors' settings (50, of which every fifth). The other settings are those of `PGD`. The
    gradient of ‖·‖₁ is a second derivative in the input, taken by double backward: a step costs twice ``points`` passes.
    """

    points: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("MostAttributed: points", self.points, 1)
        if self.of != "loss" or self.move != "ascend":
            raise ValueError(f'MostAttributed ascends on attributions of the loss: leave of="loss" and move="ascend", got of={self.of!r}, move={self.move!r}')
        if self.start == "none":
            raise ValueError('MostAttributed: start="none" is the one point whose attributions are 0; take start="uniform" or a noise')

    def uphill(self, batch: Batch, point: Tensor) -> Tensor:
        x = batch.variable(self.wrt)
        end = point.detach().clone().requires_grad_()
        total, path = x.new_zeros(()), []
        for alpha, weight in quadrature("right", self.points):
            here = (x + alpha * (point - x)).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(batch.loss(batch.output_with({self.wrt: here})).sum(), here, create_graph=True)
            total = total + weight * gradient
            path.append((alpha, here))
        size = ((end - x) * total).abs().sum()
        found = torch.autograd.grad(size, [end, *(here for _, here in path)], allow_unused=True, materialize_grads=True)
        return found[0] + sum(alpha * part for (alpha, _), part in zip(path, found[1:], strict=True))
