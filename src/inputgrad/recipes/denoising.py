"""Denoising: networks whose denoised sample is a gradient step."""

import torch
from torch import Tensor, nn

from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import Weighted
from inputgrad.terms.gradient_match import Reduction
from inputgrad.terms.gradient_step import GradientStepDenoising
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def gradient_step_denoiser(weight: Weight = 1.0, *, sigma: TensorRef | float, reduction: Reduction = "mean", wrt: Key = 0) -> Weighted:
    """Gradient-step denoiser: the denoised sample is one step down a potential, so that plug-and-play restoration with it converges.

        mean_n 1/D ‖D_σ(x_n + σξ) − x_n‖²₂,   D_σ(x) = x − ∇g_σ(x),   ξ ~ N(0, 1)^D

    weight: the factor of the term in the loss.
    sigma: σ, the noise's standard deviation in units of the input: a number, a name or position in the target, or a callable of the batch. The authors draw
      it from U(0, 50)/255 for each batch and tell the network: ``criterion(model, (images, sigma_map), sigma)``.
    reduction: "mean" over the D features, as in the formula and the authors' code; "sum" as in the paper.
    wrt: as in `double_backpropagation`.
    g: the model's output, one number per sample: `Potential` makes it of a denoising network, g(x) = ½ ‖x − N(x)‖²₂, as the authors do.

    When not: where no convergence is asked for: a network that gives the denoised sample is cheaper.

    Source: Hurault, Leclaire & Papadakis 2022, "Gradient step denoiser for convergent plug-and-play", ICLR.

    >>> import inputgrad as ig
    >>> network = Potential(nn.Conv2d(1, 1, 3, padding=1))
    >>> loss = ig.InputGradientLoss(None, gradient_step_denoiser(sigma=25 / 255))(network, torch.rand(2, 1, 8, 8))
    """
    return weight * GradientStepDenoising(sigma, reduction, wrt=wrt)


class Potential(nn.Module):
    """A potential made of a denoising network: g(x) = ½ ‖x − N(x)‖²₂, ``[N]``. Further arguments of a call, such as a noise level, go to N.

    network: N, a module that maps a sample to one of the same shape.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return 0.5 * torch.sum((x - self.network(x, *others)).flatten(1).square(), 1)
