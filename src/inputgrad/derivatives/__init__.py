"""Derivatives that torch has not, has slow, or has wrong: one file = one operation. Known to the engines alone."""

from inputgrad.derivatives.swap import Phase, SecondDerivatives

__all__ = ["Phase", "SecondDerivatives"]
