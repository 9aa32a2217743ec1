"""Derivatives that torch has not, has slow, or has wrong: one file = one operation. Known to the engines alone."""

from inputgrad.derivatives.swap import SecondDerivatives, input_gradient_only

__all__ = ["SecondDerivatives", "input_gradient_only"]
