"""Derivatives that torch has not, has slow, or has wrong: one file = one operation. Known to the engines alone."""

from inputgrad.derivatives import activations, attention, batch_norm, convolution, distances, group_norm, layer_norm, relu
from inputgrad.derivatives.substitution import SUBSTITUTES, BackwardTarget, SecondDerivatives

__all__ = ["BackwardTarget", "SecondDerivatives"]

for _file in (activations, attention, batch_norm, convolution, distances, group_norm, layer_norm, relu):
    SUBSTITUTES.update(_file.SUBSTITUTES)
