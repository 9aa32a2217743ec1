"""Score matching: the score of a distribution, ∂log q/∂x, learned from samples of it, by a network that gives an energy or the score itself."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.errors import nearest
from inputgrad.heads import FixedProjection, Of, resolve
from inputgrad.operators.differentiation import gradients
from inputgrad.passes.flat_models import warn_if_flat
from inputgrad.places.samples import Given
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_norm import flattened
from inputgrad.torch_internals.draws import normal_like
from inputgrad.variables import Key

Directions = Literal["rademacher", "gaussian", "sphere"]
_DIRECTIONS = ("rademacher", "gaussian", "sphere")
Form = Literal["reduced", "plain"]


@dataclass(frozen=True, eq=False)
class DenoisingScoreMatching(Term):
    """Denoising score matching: the network's score at noisy samples points back to the samples.

        R_n = σ^power · ½ ‖ψ(x̃_n) − (x_n − x̃_n)/σ²‖²₂          ψ = −∂E/∂x,   x̃_n = x_n + σ ε,   ε ~ N(0, 1)

    of: the energy E, by default the model's output, summed over the sample's outputs; p ∝ exp(−E). Where the model gives the logarithm of a density:
    ``of=lambda output, target: -output.flatten(1).sum(1)``.
    wrt: the input x, ``[N, *input]``; the norm is over all its features.
    sigma: σ, the standard deviation of the noise in units of the input; or one per sample ``[N]``: a name or position of the target, or a callable of
    the batch. power: 0 as published; 2 as in networks conditioned on σ (Song & Ermon 2019), 4 as in the public code of sliced score matching, which multiplies
    the vectors by σ². Only with several σ do they differ by more than a factor.

    When not: for a network that gives the score itself, where no input gradient is needed: a plain regression on −ε/σ. The score learned is that of the noisy
    distribution; where σ must be small its variance is large, and sliced score matching works better.

    Source: Vincent 2011, "A connection between score matching and denoising autoencoders", Neural Computation 23(7), eq. 9.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, DenoisingScoreMatching(sigma=0.1))
    """

    sigma: TensorRef | float
    of: Of = "output"
    wrt: Key = 0
    power: Literal[0, 2, 4] = 0

    def __post_init__(self) -> None:
        if isinstance(self.sigma, (int, float)):
            if isinstance(self.sigma, bool) or not 0 < self.sigma < float("inf"):
                raise ValueError(f"DenoisingScoreMatching: sigma must be the noise's standard deviation, positive and finite; got {self.sigma!r}")
        else:
            check_tensor_ref("DenoisingScoreMatching: sigma", self.sigma)
        if self.power not in (0, 2, 4):
            raise ValueError(f"DenoisingScoreMatching: power of sigma must be 0, 2 or 4, got {self.power!r}")

    @classmethod
    def example(cls) -> "DenoisingScoreMatching":
        return cls(0.1)

    def __call__(self, batch: Batch) -> Tensor:
        x = batch.variable(self.wrt)
        sigma = self._sigma(batch, x)
        noise = normal_like(x)
        at = Given(x + sigma.reshape(-1, *[1] * (x.dim() - 1)) * noise, self.wrt)
        gradient = flattened(batch.gradient(of=self.of, wrt=self.wrt, at=at))
        if gradient.shape != (x.shape[0], x[0].numel()):
            raise ValueError(f"DenoisingScoreMatching needs a head of one score per sample, and {self.of!r} gave rows of {gradient.shape[1]} derivatives")
        sigma = sigma.to(gradient)
        gap = flattened(noise) / sigma[:, None] - gradient  # ψ − (x − x̃)/σ²
        return sigma**self.power * gap.square().sum(1) / 2

    def _sigma(self, batch: Batch, x: Tensor) -> Tensor:
        """σ ``[N]``, or ``[1]`` for the same everywhere."""
        if isinstance(self.sigma, (int, float)):
            return x.new_full((1,), self.sigma)
        sigma = resolve_tensor("DenoisingScoreMatching: sigma", self.sigma, batch).detach().to(x)
        if sigma.dim() == 0 or sigma.shape == (x.shape[0],):
            return sigma.reshape(-1)
        raise ValueError(f"DenoisingScoreMatching: sigma must be one number, or one per sample, [N] = [{x.shape[0]}]; got {list(sigma.shape)}")


@dataclass(frozen=True, eq=False)
class SlicedScoreMatching(Term):
    """Sliced score matching of a score network: the score matched along random directions, without noise on the samples.

        R_n = mean_v [ vᵀ ∂(vᵀ f(x_n))/∂x + ½ ‖f(x_n)‖²₂ ]          E v vᵀ = 1

    f: the model, which gives the score ∂log p/∂x, as many outputs as inputs; the first term is a first derivative in the input, so every engine supports it.
    n: directions v per sample. directions: "rademacher" (signs), "gaussian", or "sphere" (uniform of length √D), all of which have E v vᵀ = 1.
    wrt: the input x.
    form: "reduced" as above, of lower variance; "plain": ½ (vᵀ f)² in place of ½ ‖f‖². The public code draws from the UNIT sphere in its plain form,
    which is "sphere" divided by D; in the reduced form unit vectors would be wrong. Values may be negative: −½ E‖∂log p/∂x‖² is the best.

    When not: for a network that gives an energy (`SlicedEnergyMatching`); for high dimension with one direction, where the variance is large.

    Source: Song, Garg, Shi & Ermon 2019, "Sliced score matching: a scalable approach to density and score estimation", UAI, eq. 7 and 8.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, SlicedScoreMatching())
    """

    n: int = 1
    directions: Directions = "rademacher"
    form: Form = "reduced"
    wrt: Key = 0

    def __post_init__(self) -> None:
        _check_slices("SlicedScoreMatching", self.n, self.directions, self.form)

    def __call__(self, batch: Batch) -> Tensor:
        score, x = batch.output, batch.variable(self.wrt)
        if score.shape != x.shape:
            raise ValueError(
                f"SlicedScoreMatching: the model must give the score, as many outputs as inputs: the output has shape {list(score.shape)}, the input "
                f"{list(x.shape)}. For a model that gives an energy take SlicedEnergyMatching"
            )
        v = _drawn(self.directions, self.n, x)
        slopes = batch.gradient(of=FixedProjection(v), wrt=self.wrt).flatten(2)
        return _sliced(v, slopes, flattened(score), self.form)


@dataclass(frozen=True, eq=False)
class SlicedEnergyMatching(Term):
    """Sliced score matching of an energy network: the score −∂E/∂x matched along random directions, without noise on the samples.

        R_n = mean_v [ −vᵀ H v + ½ ‖∂E/∂x‖²₂ ]          H = ∂²E/∂x²,   E v vᵀ = 1

    n, directions, form: as in `SlicedScoreMatching`.
    of: the energy E, by default the model's output, summed over the sample's outputs; p ∝ exp(−E).
    wrt: the input x.

    H v is a second derivative in the input: it is taken by double backward, whatever the engine, and the parameter gradient is a third one. So the model
    needs derivatives of every order: ReLU networks have H = 0 and learn nothing from the first part.

    When not: for networks of ReLU; where memory is short, or an operation has no second derivative (`DenoisingScoreMatching` needs one order less).

    Source: Song, Garg, Shi & Ermon 2019, "Sliced score matching: a scalable approach to density and score estimation", UAI, eq. 7 and 8.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, SlicedEnergyMatching())
    """

    n: int = 1
    directions: Directions = "rademacher"
    form: Form = "reduced"
    of: Of = "output"
    wrt: Key = 0

    def __post_init__(self) -> None:
        _check_slices("SlicedEnergyMatching", self.n, self.directions, self.form)
        if isinstance(self.of, str) and self.of == "loss":
            raise ValueError('SlicedEnergyMatching: of="loss" is not an energy; name the output that is one, or give a callable (output, target) -> [N]')
        resolve(self.of)

    def variables(self) -> tuple[Key, ...]:
        """None: it differentiates the model itself."""
        return ()

    def __call__(self, batch: Batch) -> Tensor:
        output, (x,) = batch.output_and_variables(self.wrt)
        energy = batch.scores(output, self.of)
        if energy.dim() != 1:
            raise ValueError(f"SlicedEnergyMatching needs a head of one energy per sample, and {self.of!r} gave {list(energy.shape)}")
        (first,) = gradients(energy, [x])
        v = _drawn(self.directions, self.n, x)
        slopes = [gradients(first * row.reshape(x.shape), [x])[0].flatten(1) for row in v.unbind(1)]  # H v
        warn_if_flat("SlicedEnergyMatching", batch.model, [first], slopes, ", or DenoisingScoreMatching, which asks for first derivatives only")
        return _sliced(v, -torch.stack(slopes, 1), flattened(-first), self.form)


def _sliced(v: Tensor, slopes: Tensor, score: Tensor, form: Form) -> Tensor:
    """mean_v [vᵀ ∂(vᵀ s)/∂x + ½ …] ``[N]``. v ``[N, n, D]``, slopes = ∂(vᵀ s)/∂x ``[N, n, D]``, score s ``[N, D]``."""
    v, slopes = v.to(score.dtype), slopes.to(score.dtype)
    trace = (v * slopes).sum(2).mean(1)
    square = score.square().sum(1) if form == "reduced" else torch.einsum("nkd,nd->nk", v, score).square().mean(1)
    return trace + square / 2


def _drawn(directions: Directions, n: int, x: Tensor) -> Tensor:
    """v ``[N, n, D]`` with E v vᵀ = 1."""
    v = torch.randn(x.shape[0], n, x[0].numel(), dtype=x.dtype, device=x.device)
    if directions == "gaussian":
        return v
    return v.sign() if directions == "rademacher" else v * (v.shape[2] ** 0.5 / v.norm(dim=2, keepdim=True))


def _check_slices(name: str, n: int, directions: str, form: str) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{name}: n must be the number of directions per sample, at least 1; got {n!r}")
    if directions not in _DIRECTIONS:
        raise ValueError(f"{name}: directions={directions!r}: {nearest(directions, _DIRECTIONS)}")
    if form not in ("reduced", "plain"):
        raise ValueError(f"{name}: form={form!r}: {nearest(form, ('reduced', 'plain'))}")
