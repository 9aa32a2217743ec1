"""The adversarial term: the loss at an input that the input gradient has perturbed."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturb import FGSM, Perturbation, check_perturbation, perturbed
from inputgrad.terms.base import Term
from inputgrad.variables import Key


@dataclass(frozen=True)
class Adversarial(Term):
    """R_n = loss(f(x̃_n), y_n), the sample's own base loss at the perturbed input x̃ = perturbation(x). The perturbation x̃ − x is a constant for the parameter
    gradient; what computes x itself, where `wrt` is an inner module's output, learns from the term too.

    perturbation: `FGSM(epsilon)` (Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", where the loss is
    α loss(x) + (1 − α) loss(x̃)), any `Perturbation`, or a callable ``batch -> tensor`` that gives x̃ for the first input.

    A positive weight makes the network robust against the perturbation. A negative weight rewards a high loss at x̃: it makes the network susceptible,
    and since the loss has no upper bound it needs a small weight.
    """

    perturbation: Perturbation | Callable[[Batch], Tensor]

    def __post_init__(self) -> None:
        check_perturbation("Adversarial", self.perturbation)

    @classmethod
    def example(cls) -> "Adversarial":
        return cls(FGSM(0.1))

    def variables(self) -> tuple[Key, ...]:
        return (perturbed(self.perturbation),)

    def __call__(self, batch: Batch) -> Tensor:
        moved = self.perturbation(batch)
        if not isinstance(moved, Tensor):
            raise TypeError(f"Adversarial: the perturbation must return the perturbed input, a tensor; got {type(moved).__name__}")
        return batch.loss(batch.output_with({perturbed(self.perturbation): moved.detach()}))
