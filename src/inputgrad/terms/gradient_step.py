"""Denoising by a gradient step: the network's potential has the noise for its gradient at noisy samples."""

from dataclasses import dataclass

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.heads import Of
from inputgrad.places.samples import Given
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_match import Reduction
from inputgrad.terms.gradient_norm import flattened
from inputgrad.torch_internals.draws import normal_like
from inputgrad.variables import Key


@dataclass(frozen=True, eq=False)
class GradientStepDenoising(Term):
    """Denoising by a gradient step: the input minus the gradient of a potential is the clean sample.

        R_n = 1/D ‖x̃_n − ∇g(x̃_n) − x_n‖²₂,   x̃_n = x_n + σ ξ,   ξ ~ N(0, 1)^D

    g: the potential, the model's output, one number per sample. sigma: σ, a number, or one per sample or for the batch: a name or position of the target, or a
    callable of the batch. If the model takes σ as an input, pass it there as well. reduction: "mean" over the features, as in the authors' code, or "sum".
    of, wrt: the score that is g, and the input x.

    When not: for a network that gives the denoised sample itself, which needs no input gradient.

    Source: Hurault, Leclaire & Papadakis 2022, "Gradient step denoiser for convergent plug-and-play", ICLR.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, GradientStepDenoising(25 / 255))
    """

    sigma: TensorRef | float
    reduction: Reduction = "mean"
    of: Of = "output"
    wrt: Key = 0

    def __post_init__(self) -> None:
        if isinstance(self.sigma, float):
            if not 0 <= self.sigma < float("inf"):
                raise ValueError(f"GradientStepDenoising: sigma must be the noise's standard deviation, at least 0 and finite; got {self.sigma!r}")
        else:
            check_tensor_ref("GradientStepDenoising: sigma", self.sigma)
        if self.reduction not in ("sum", "mean"):
            raise ValueError(f'GradientStepDenoising: reduction must be "sum" or "mean", got {self.reduction!r}')

    @classmethod
    def example(cls) -> "GradientStepDenoising":
        return cls(0.1)

    def __call__(self, batch: Batch) -> Tensor:
        x = batch.variable(self.wrt)
        noise = self._width(batch, x) * normal_like(x)
        gradient = flattened(batch.gradient(of=self.of, wrt=self.wrt, at=Given(x + noise, self.wrt)))
        if gradient.shape != (x.shape[0], x[0].numel()):
            raise ValueError(f"GradientStepDenoising needs a head of one potential per sample, and {self.of!r} gave rows of {gradient.shape[1]} derivatives")
        squares = (flattened(noise).to(gradient) - gradient).square()
        return squares.mean(1) if self.reduction == "mean" else squares.sum(1)

    def _width(self, batch: Batch, x: Tensor) -> float | Tensor:
        if isinstance(self.sigma, float):
            return self.sigma
        sigma = resolve_tensor("GradientStepDenoising: sigma", self.sigma, batch).detach().to(x)
        if sigma.dim() and sigma.shape != x.shape[:1]:
            raise ValueError(f"GradientStepDenoising: sigma must be one number, or one per sample, [{x.shape[0]}]; got {list(sigma.shape)}")
        return sigma.reshape(-1, *[1] * (x.dim() - 1))
