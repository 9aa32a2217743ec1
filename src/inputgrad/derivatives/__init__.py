"""Derivatives that torch has not, has slow, or has wrong: one file = one operation. Known to the engines alone."""

from inputgrad.derivatives import (
    activations,
    at_zero,
    attention,
    batch_norm,
    convolution,
    distances,
    extremes,
    group_norm,
    layer_norm,
    linear_cross_entropy,
    relu,
)
from inputgrad.derivatives.saved_statistics import before_differentiating, differentiable_to_any_order
from inputgrad.derivatives.substitution import BEFORE, OF_ANY_ORDER, SUBSTITUTES, BackwardTarget, SecondDerivatives

__all__ = ["BackwardTarget", "SecondDerivatives", "differentiable_to_any_order"]

for _file in (activations, at_zero, attention, batch_norm, convolution, distances, extremes, group_norm, layer_norm, linear_cross_entropy, relu):
    SUBSTITUTES.update(_file.SUBSTITUTES)
for _file in (at_zero, distances, extremes, linear_cross_entropy):
    OF_ANY_ORDER.update(_file.SUBSTITUTES)
BEFORE.update(before_differentiating())
