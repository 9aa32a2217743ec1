"""Engines: how ⟨v, g⟩ becomes differentiable in the parameters. One file = one engine; none of them knows a term."""

from inputgrad.engines.base import Engine, GradientRequest, KnownGradients, Linearization, Traits
from inputgrad.engines.choice import Auto
from inputgrad.engines.compiled import Compiled
from inputgrad.engines.double_backward import DoubleBackward
from inputgrad.engines.finite_difference import FiniteDifference
from inputgrad.engines.names import ENGINES, resolve
from inputgrad.engines.reverse_over_forward import ReverseOverForward
from inputgrad.engines.weight_as_step import WeightAsStep

__all__ = [
    "ENGINES",
    "Auto",
    "Compiled",
    "DoubleBackward",
    "Engine",
    "FiniteDifference",
    "GradientRequest",
    "KnownGradients",
    "Linearization",
    "ReverseOverForward",
    "Traits",
    "WeightAsStep",
    "resolve",
]
