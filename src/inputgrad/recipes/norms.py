"""Penalties on the norm of the input gradient or of the Jacobian."""

from inputgrad.terms import GradientNorm, Weighted
from inputgrad.terms.weights import Weight
from inputgrad.variables import Wrt


def double_backpropagation(weight: Weight = 1.0, *, wrt: Wrt = 0) -> Weighted:
    """Double backpropagation: half the squared norm of the gradient of each sample's own loss.

        weight · mean_n ½ ‖∂ℓ_n/∂x_n‖²₂

    ℓ_n: the sample's own base loss, never divided by the batch size. The paper's energy has the factor ½ on both losses; Ross & Doshi-Velez
    (`input_gradient_regularization`) have none.
    When not: where the loss is close to zero on the training samples already, its gradient says little about the decision surface.

    Source: Drucker & LeCun 1992, "Improving generalization performance using double backpropagation", IEEE Transactions on Neural Networks 3(6).

    >>> from torch import nn
    >>> criterion = nn.MSELoss() + double_backpropagation(0.1)
    """
    return weight * (0.5 * GradientNorm(of="loss", power=2, wrt=wrt))
