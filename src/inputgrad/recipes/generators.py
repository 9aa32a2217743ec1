"""Generators whose latent components act apart."""

from typing import Literal

from inputgrad.terms.base import Weighted
from inputgrad.terms.hessian_penalty import OrthogonalJacobian
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key


def orthogonal_jacobian(
    weight: Weight = 0.1, *, directions: int = 2, epsilon: float = 0.1, reduction: Literal["max", "mean"] = "mean", wrt: Key = 0, layers: tuple[str, ...] = ()
) -> Weighted:
    """Orthogonal Jacobian regularisation (OroJaR): latent components change the image in perpendicular directions.

        weight · mean_n Var_v ‖(f(z_n + εv) − f(z_n))/ε‖²₂,      v ∈ {−1, 1}^D

    z: the latent input; f: the generator. The settings are those of the authors' code; see `OrthogonalJacobian`. weight: λ, to be tuned, and ramped up from
    zero where a trained generator is tuned: a callable of the step number; 0.1 is not a published value. `hessian_penalty` asks the same of second
    derivatives, output by output.

    When not: where components of z should act together.

    Source: Wei, Shi, Liu, Ji, Gao, Wu & Zuo 2021, "Orthogonal Jacobian regularization for unsupervised disentanglement in image generation", ICCV.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(lambda images, target: -images.mean(), orthogonal_jacobian())
    """
    return weight * OrthogonalJacobian(directions, epsilon, reduction, wrt, layers)
