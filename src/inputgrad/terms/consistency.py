"""Consistency: how far the output moves when the input is perturbed."""

from dataclasses import dataclass

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.perturbations.divergences import Divergence, check_divergence, divergence
from inputgrad.perturbations.fgsm import FGSM
from inputgrad.places.base import Place
from inputgrad.terms.perturbed import PerturbedTerm


@dataclass(frozen=True)
class Consistency(PerturbedTerm):
    """The divergence of the output at a perturbed input from the output at the input.

        R_n = D(p(f(x_n)), p(f(x̃_n))),        x̃ = perturbation(x),        p = softmax

    perturbation: any `Perturbation`, or a callable ``batch -> tensor`` that gives x̃ for the first input. x̃ − x is a constant for the parameter gradient.
    divergence: "kl" is KL(p(f(x)) ‖ p(f(x̃))), the order of TRADES, MART and VAT; "reverse_kl" is KL(p(f(x̃)) ‖ p(f(x))); "symmetric_kl" is their sum,
    without a factor ½ (SMART, R3F); "mse" is the mean over the sample's outputs of (f(x) − f(x̃))², of the outputs as they are, for regression.
    Outputs ``[N, C, ...]``: classes in dimension 1; the mean is taken over samples (and positions), never over classes.
    hold_clean: False lets the gradient through both branches (TRADES, MART, SMART); True holds p(f(x)) constant (VAT).
    hold_variable: where `wrt` is an inner module's output, such as an embedding, True keeps what computes it from learning by the perturbed branch
    (the public code of R3F); False lets it learn by both.

    at: the samples that are perturbed; the batch's own by default, `inputgrad.Given` for others, such as unlabelled ones.

    When not: with one output and a divergence of probabilities (it raises an error); take "mse" there.

    Source: Miyato et al. 2018, "Virtual adversarial training: a regularization method for supervised and semi-supervised learning", IEEE TPAMI 41(8) of
    August 2019; Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy", ICML, algorithm 1.

    >>> from torch import nn
    >>> criterion = nn.CrossEntropyLoss() + 6.0 * Consistency(FGSM(0.1))
    """

    divergence: Divergence = "kl"
    hold_clean: bool = False
    hold_variable: bool = False
    at: Place | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_divergence("Consistency", self.divergence)

    @classmethod
    def example(cls) -> "Consistency":
        return cls(FGSM(0.1, of="output"))

    def __call__(self, batch: Batch) -> Tensor:
        batch = batch.at(self.at)
        clean = batch.output.detach() if self.hold_clean else batch.output
        moved = self.moved(batch)
        if (
            self.hold_variable
        ):  # a value with a graph replaces the variable, where a constant one displaces it; this graph carries zeros, to a leaf that is there
            moved = moved + 0 * batch.output.sum().to(moved.dtype)
        return divergence(self.divergence, clean, batch.output_with({self.key: moved}))
