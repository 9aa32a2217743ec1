"""Engines: how ⟨v, g⟩ becomes differentiable in the parameters. One file = one engine; none of them knows a term."""

from inputgrad.engines.base import Engine, Linearization, Traits
from inputgrad.engines.choice import ENGINES, resolve
from inputgrad.engines.double_backward import DoubleBackward

__all__ = ["ENGINES", "DoubleBackward", "Engine", "Linearization", "Traits", "resolve"]
