"""Adversarial terms: the loss at an input that the input gradient has perturbed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturbations.attacks import PGD, check_radius
from inputgrad.perturbations.divergences import divergence
from inputgrad.perturbations.fgsm import FGSM
from inputgrad.terms.perturbed import PerturbedTerm


@dataclass(frozen=True)
class Adversarial(PerturbedTerm):
    """The sample's own base loss at the perturbed input.

        R_n = ℓ(f(x̃_n), y_n),        x̃ = perturbation(x)

    The perturbation x̃ − x is a constant for the parameter gradient; what computes x itself, where `wrt` is an inner module's output, learns from the term too.
    perturbation: `FGSM(epsilon)`, `PGD(epsilon)`, any other `Perturbation` (`ExternalAttack` for those of another attack library), or a callable
    ``batch -> tensor`` that gives x̃ for the first input.
    instead: True gives R_n = ℓ(f(x̃_n), y_n) − ℓ(f(x_n), y_n), so that with the base loss and weight w the whole is (1 − w) ℓ(x) + w ℓ(x̃): training at x̃ alone
    for w = 1, Goodfellow's α ℓ(x) + (1 − α) ℓ(x̃) for w = 1 − α.

    A positive weight makes the network robust against the perturbation. A negative weight rewards a high loss at x̃: it makes the network susceptible,
    and since the loss has no upper bound it needs a small weight.

    When not: with an attack weaker than the one the network will meet; one FGSM step from x can be learned by heart (catastrophic overfitting).

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", ICLR, section 6.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 1.0 * Adversarial(FGSM(0.1))
    """

    instead: bool = False

    @classmethod
    def example(cls) -> "Adversarial":
        return cls(FGSM(0.1))

    def __call__(self, batch: Batch) -> Tensor:
        there = batch.loss_with({self.key: self.moved(batch)})
        return there - batch.loss() if self.instead else there


@dataclass(frozen=True)
class AdversarialPath(PerturbedTerm):
    """The mean of the sample's own base loss along the steps of an attack: every point trains, not the last alone.

        R_n = 1/K Σ_{t=0}^{K−1} ℓ(f(x_n + δ_t), y_n)

    perturbation: a `PGD` of K − 1 steps, whose K points, the start included, count alike. instead: minus ℓ(f(x_n), y_n), as in `Adversarial`.
    Costs K passes for the loss and K − 1 for the steps, forward and backward; in the paper's own loop the two share passes.

    When not: where only the hardest point matters (take `Adversarial`), or one more pass is too dear.

    Source: Zhu et al. 2020, "FreeLB: enhanced adversarial training for natural language understanding", ICLR, algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 1.0 * AdversarialPath(PGD(0.1, steps=2), instead=True)
    """

    instead: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.perturbation, PGD):
            raise TypeError(f"AdversarialPath: perturbation must be a PGD, which has a path, got {self.perturbation!r}; for any other take Adversarial")

    @classmethod
    def example(cls) -> "AdversarialPath":
        return cls(PGD(0.1, steps=2))

    def __call__(self, batch: Batch) -> Tensor:
        assert isinstance(self.perturbation, PGD)
        losses = [batch.loss_with({self.key: point.detach()}) for point in self.perturbation.path(batch)]
        mean = torch.stack(losses).mean(0)
        return mean - batch.loss() if self.instead else mean


@dataclass(frozen=True)
class MisclassificationAware(PerturbedTerm):
    """The boosted cross-entropy at the perturbed input, and a divergence that counts most where the clean input is misclassified (MART).

        R_n = −log p_y(x̃) − log(1 − max_{k≠y} p_k(x̃)) + λ · KL(p(x) ‖ p(x̃)) · (1 − p_y(x))

    perturbation: what gives x̃: ``PGD(epsilon)``, any other `Perturbation`, or a callable ``batch -> tensor``.
    lambda_: λ, the weight of the divergence.

    p = softmax(f(·)), y = the target, integer classes ``[N]``, outputs ``[N, C]``. Nothing is detached, as in the authors' code, which adds
    1e-4 inside the second logarithm; here it is taken by a log-sum-exp, which needs none.

    When not: as a term beside a base loss, which it replaces: `inputgrad.recipes.mart` is the whole criterion. And not for outputs other than one label.

    Source: Wang et al. 2020, "Improving adversarial robustness requires revisiting misclassified examples", ICLR, section 3.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, MisclassificationAware(FGSM(0.1, of="label", move="descend")))
    """

    lambda_: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_radius("MisclassificationAware: lambda_", self.lambda_)

    @classmethod
    def example(cls) -> "MisclassificationAware":
        return cls(PGD(0.1, steps=2, of=_likeliest))

    def __call__(self, batch: Batch) -> Tensor:
        labels = class_labels("MisclassificationAware", batch)
        clean, other = batch.output, batch.output_with({self.key: self.moved(batch)})
        log_p = other.log_softmax(1)
        classes = torch.arange(log_p.shape[1], device=log_p.device)
        rival = log_p.masked_fill(classes == labels[:, None], -torch.inf).argmax(1)
        others = log_p.masked_fill(classes == rival[:, None], -torch.inf).logsumexp(1)  # log(1 − p_rival)
        missed = 1 - clean.softmax(1).gather(1, labels[:, None]).squeeze(1)
        return -log_p.gather(1, labels[:, None]).squeeze(1) - others + self.lambda_ * divergence("kl", clean, other) * missed


def class_labels(name: str, batch: Batch) -> Tensor:
    """The target as integer classes. Raises `ValueError` for any other, and for outputs that are not one logit a class."""
    output, target = batch.output, batch.target
    if output.dim() != 2 or output.shape[1] < 2:
        raise ValueError(f"{name} needs outputs [N, C] of at least two classes, one logit each; got {list(output.shape)}")
    if not isinstance(target, Tensor) or target.is_floating_point() or target.shape != output.shape[:1]:
        got = f"{list(target.shape)} of {target.dtype}" if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{name} needs the target to be integer classes [N] = [{output.shape[0]}], got {got}")
    return target.long()


def _likeliest(output: Tensor, target: object) -> Tensor:
    return -output.flatten(1).log_softmax(1).amax(1)
