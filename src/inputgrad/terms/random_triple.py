"""Local linearity by three points: the loss between two random points is the mean of theirs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturbations.attacks import check_radius
from inputgrad.terms.base import Term
from inputgrad.torch_internals.draws import uniform_like
from inputgrad.variables import Key, keys_of


@dataclass(frozen=True)
class BetweenTwoPoints(Term):
    """The squared deviation of the loss from linearity between two random points around the sample.

        R_n = [ ℓ(x_c) − (1 − α) ℓ(x_a) − α ℓ(x_b) ]²,   x_c = (1 − α) x_a + α x_b,   x_a, x_b ~ x_n + U(−ε, ε)^D,   one α ~ U(0, 1) per sample

    epsilon: ε. wrt: the input that is moved. ℓ: the sample's own base loss. Three passes; no gradient with respect to the input is taken.

    When not: with a base loss that is linear in the input anyway.

    Source: Abad Rocamora, Liu, Chrysos, Olmos & Cevher 2024, "Efficient local linearity regularization to overcome catastrophic overfitting", ICLR.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 5000.0 * BetweenTwoPoints(0.03)
    """

    epsilon: float
    wrt: Key = 0

    def __post_init__(self) -> None:
        check_radius("BetweenTwoPoints: epsilon", self.epsilon)
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"BetweenTwoPoints: wrt names one input; got {self.wrt!r}")

    @classmethod
    def example(cls) -> "BetweenTwoPoints":
        return cls(0.1)

    def __call__(self, batch: Batch) -> Tensor:
        x = batch.variable(self.wrt)
        a, b = (x + self.epsilon * (2 * uniform_like(x) - 1) for _ in range(2))
        alpha = torch.rand(x.shape[0], *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
        at_a, at_b, between = (batch.loss(batch.output_with({self.wrt: point})) for point in (a, b, (1 - alpha) * a + alpha * b))
        share = alpha.reshape(-1).to(between)
        return (between - (1 - share) * at_a - share * at_b).square()
