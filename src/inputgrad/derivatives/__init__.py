"""Derivatives that torch has not, has slow, or has wrong: one file = one operation. Known to the engines alone."""

from inputgrad.derivatives import convolution, group_norm
from inputgrad.derivatives.swap import SUBSTITUTES, Phase, SecondDerivatives

__all__ = ["Phase", "SecondDerivatives"]

for _file in (convolution, group_norm):
    SUBSTITUTES.update(_file.SUBSTITUTES)
