"""Path length: how far a generator's image moves as its latent moves, the same everywhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.heads import FixedProjection
from inputgrad.terms.base import Per, Term
from inputgrad.terms.gradient_norm import flattened
from inputgrad.torch_internals.draws import normal_like
from inputgrad.variables import Key


@dataclass(frozen=True, eq=False)
class PathLength(Term):
    """The path length regulariser of StyleGAN2, with its running mean.

        R = mean_n (ℓ_n − a)²,   ℓ_n = √( 1/L Σ_l Σ_d (J_wᵀ y)²_nld ),   y ~ N(0, 1) / √(H·W),   a ← a + β (mean_n ℓ_n − a)

    J_w = ∂g(w)/∂w: the Jacobian of the generator, a model that maps latents w to images. w: ``[N, L, D]`` (one latent per layer) or ``[N, D]`` (then L = 1).
    Images ``[N, C, H, W]``; of other outputs ``[N, C, ...]`` H·W is the product of what follows C, 1 where nothing does.
    beta: β, 0.01 as published. wrt: the input that holds the latents.

    As in the authors' code, the running mean a is updated FIRST and is not detached in the penalty: the gradient of a step passes through β·mean ℓ. The paper's
    equation 4 has neither √(H·W) nor the mean over layers; they only divide its weight by H·W·L. a starts at 0. It is carried from step to step (in
    ``criterion.state_dict()``) and goes on at steps of training only; in validation the penalty is as if it did.
    The mean over the batch is part of the formula, so the term is ``per="batch"``. Where ℓ = 0 the subgradient 0 is used.

    When not: for critics, whose gradient is to be small or of a given norm (r1, wgan_gp), and for generators that take noise at every layer besides.
    Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", CVPR, eq. 4 and appendix B.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, 2 * PathLength())  # loss = … − critic(generator(w)).mean() + criterion(generator, w)
    """

    per: ClassVar[Per] = "batch"
    beta: float = 0.01
    wrt: Key = 0
    if TYPE_CHECKING:  # no field of the dataclass: fields are settings, and this goes on from step to step
        _mean: Tensor = field(init=False)

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.beta <= 1:
            raise ValueError(f"PathLength: beta must be above 0 and at most 1, the share of each batch in the running mean; got {self.beta}")
        self._carry(torch.zeros(()))

    def _carry(self, mean: Tensor) -> None:
        object.__setattr__(self, "_mean", mean.detach())

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        mean = state.get("mean")
        if not isinstance(mean, Tensor) or mean.dim() != 0:
            raise ValueError(f"PathLength carries the running mean, a 0-d tensor under 'mean'; got a state with {sorted(state) or 'nothing'}")
        self._carry(mean.clone())

    def __call__(self, batch: Batch) -> Tensor:
        lengths = self._lengths(batch)
        before = self._mean.to(lengths)
        mean = before + self.beta * (lengths.mean() - before)
        if batch.is_training_step:  # a batch that overflows in half precision must not spoil all those after it
            self._carry(torch.where(mean.isfinite(), mean, before))
        return (lengths - mean).square().mean()

    def _lengths(self, batch: Batch) -> Tensor:
        """ℓ ``[N]``."""
        output = batch.output
        if output.dim() < 2:
            raise ValueError(f"PathLength: the model must be a generator with outputs [N, C, H, W] (or [N, C]), got {list(output.shape)}")
        noise = normal_like(output.detach()) / math.prod(output.shape[2:]) ** 0.5
        gradient = batch.gradient(of=FixedProjection(noise.flatten(1)[:, None]), wrt=self.wrt).squeeze(1)
        if gradient.dim() not in (2, 3):
            raise ValueError(f"PathLength: latents must be [N, D] or [N, L, D], got {list(gradient.shape)}; flatten them, or name them with wrt=")
        layers = gradient.shape[1] if gradient.dim() == 3 else 1
        return torch.linalg.vector_norm(flattened(gradient), dim=1) / layers**0.5
