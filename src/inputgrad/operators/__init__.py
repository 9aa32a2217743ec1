"""Operators: derivatives of the output with respect to the input (gradient, Jacobian, Laplacian, fields), differentiable in the parameters.

Must not know terms and engines.
"""

from inputgrad.operators.fields import Field
from inputgrad.operators.functions import (
    divergence,
    field,
    follow_gradient,
    gradient,
    hessian_vector,
    jacobian,
    laplacian,
    output_and_gradient,
)
from inputgrad.operators.hessians import hessian, hessian_diagonal
from inputgrad.operators.taylor.telling import how_computed

__all__ = [
    "Field",
    "divergence",
    "field",
    "follow_gradient",
    "gradient",
    "hessian",
    "hessian_diagonal",
    "hessian_vector",
    "how_computed",
    "jacobian",
    "laplacian",
    "output_and_gradient",
]
