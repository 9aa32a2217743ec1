"""Penalties on generators: latent components that act apart, and paths of equal length."""

from typing import Literal

from inputgrad.terms.base import Weighted
from inputgrad.terms.hessian_penalty import HessianPenalty, OrthogonalJacobian
from inputgrad.terms.hessian_penalty import Reduction as HessianReduction
from inputgrad.terms.path_length import PathLength
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def orthogonal_jacobian(
    weight: Weight = 0.1, *, directions: int = 2, epsilon: float = 0.1, reduction: Literal["max", "mean"] = "mean", wrt: Key = 0, layers: tuple[str, ...] = ()
) -> Weighted:
    """Orthogonal Jacobian regularisation (OroJaR): latent components change the image in perpendicular directions.

        weight · mean_n Var_v ‖(f(z_n + εv) − f(z_n))/ε‖²₂,      v ∈ {−1, 1}^D

    weight: λ, to be tuned, and ramped up from zero where a trained generator is fine-tuned: a callable of the step number. 0.1 is not a published value.
    directions, epsilon: as in `hessian_penalty`.
    reduction: over the batch: "mean" as in the formula and the authors' code, or "max".
    wrt, layers: as in `hessian_penalty`.
    f: the generator.

    `hessian_penalty` asks the same of second derivatives, output by output.

    When not: where components of z should act together.

    Source: Wei, Shi, Liu, Ji, Gao, Wu & Zuo 2021, "Orthogonal Jacobian regularization for unsupervised disentanglement in image generation", ICCV.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(lambda images, target: -images.mean(), orthogonal_jacobian())
    """
    return weight * OrthogonalJacobian(directions, epsilon, reduction, wrt, layers)


def hessian_penalty(
    weight: Weight = 0.1, *, directions: int = 2, epsilon: float = 0.1, reduction: HessianReduction = "max", wrt: Key = 0, layers: tuple[str, ...] = ()
) -> Weighted:
    """The Hessian penalty on a generator: each output should be a sum of functions of one latent component each.

        weight · max_{n,c} Var_v [ (f_c(z_n + εv) − 2 f_c(z_n) + f_c(z_n − εv)) / ε² ],      v ∈ {−1, 1}^D

    weight: λ, to be ramped up from zero where a trained generator is fine-tuned: a callable of the step number.
    directions: how many v are drawn per sample and step, 2 as published; Var is the unbiased variance over them.
    epsilon: ε, the step, 0.1 as published.
    reduction: "max" over outputs and batch, as in the formula and the authors' code; "max_of_outputs" per sample, as in the paper's eq. 3; "mean" over the
      outputs.
    wrt: the latent input z.
    layers: names of inner modules whose outputs are penalised in place of the model's output.
    f: the generator, every pixel an output c.

    When not: where components of z should act together, or the generator is linear in them anyway.

    Source: Peebles, Peebles, Zhu, Efros & Torralba 2020, "The Hessian penalty: a weak prior for unsupervised disentanglement", ECCV, eq. 2 and 3, theorem 1.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(lambda images, target: -images.mean(), hessian_penalty(lambda step: 0.1 * min(1, step / 1e5)))
    """
    return weight * HessianPenalty(directions, epsilon, reduction, wrt, layers)


def path_length(weight: Weight = 2.0, *, beta: float = 0.01, wrt: Key = 0) -> Weighted:
    """StyleGAN2's path length: the generator's image moves equally far wherever its latent moves.

        w_pl · mean_n (ℓ_n − a)²,   ℓ_n = ‖J_wᵀ y‖₂,   y ~ N(0, 1) / √(H·W),   a ← a + β (mean_n ℓ_n − a)

    weight: w_pl, 2 as published.
    beta: β, 0.01 as published: how fast the running mean a follows the lengths.
    wrt: the input that holds the latents w, ``[N, L, D]`` or ``[N, D]``.
    J_w: the Jacobian of the image with respect to w; the model is the GENERATOR, which maps w to images ``[N, C, H, W]``.
    a: the running mean of the lengths, kept in the criterion's ``state_dict()``; see `PathLength`, also for several layers.

    The authors take the penalty at each 4th step, on half of the batch: ``path_length().scheduled(every=4)``, called with half of the latents.

    When not: for critics; and where latents are not vectors.
    Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", CVPR, eq. 4 and appendix B.

    >>> import inputgrad as ig
    >>> penalty = ig.InputGradientLoss(None, path_length())  # loss = softplus(-critic(generator(w))).mean() + penalty(generator, w)
    """
    return weight * PathLength(beta, wrt)
