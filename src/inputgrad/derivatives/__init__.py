"""Derivatives that torch has not, has slow, or has wrong: one file = one operation. Known to the engines alone."""

from inputgrad.derivatives import (
    activations,
    at_zero,
    attention,
    batch_norm,
    convolution,
    cumulative,
    distances,
    extremes,
    group_norm,
    layer_norm,
    linear_cross_entropy,
    margin_losses,
    matrix_exp,
    relu,
    segments,
    sparse,
)
from inputgrad.derivatives.saved_statistics import before_differentiating, differentiable_to_any_order
from inputgrad.derivatives.substitution import BEFORE, LEAST_NUMBERS, OF_ANY_ORDER, SUBSTITUTES, BackwardTarget, SecondDerivatives

__all__ = ["BackwardTarget", "SecondDerivatives", "differentiable_to_any_order"]

_PRIMITIVE = (at_zero, distances, extremes, linear_cross_entropy, margin_losses, matrix_exp, segments, sparse)

for _file in (activations, attention, batch_norm, convolution, group_norm, layer_norm, relu, *_PRIMITIVE):
    SUBSTITUTES.update(_file.SUBSTITUTES)
for _file in _PRIMITIVE:
    OF_ANY_ORDER.update(_file.SUBSTITUTES)
OF_ANY_ORDER.update({**convolution.OF_ANY_ORDER, **cumulative.OF_ANY_ORDER})
LEAST_NUMBERS.update(relu.LEAST_NUMBERS)
BEFORE.update(before_differentiating())
