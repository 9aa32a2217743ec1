"""The engines by name. A new engine is one file and one entry here."""

from inputgrad.engines.base import Engine
from inputgrad.engines.choice import Auto
from inputgrad.engines.compiled import Compiled
from inputgrad.engines.double_backward import DoubleBackward
from inputgrad.engines.finite_difference import FiniteDifference
from inputgrad.engines.reverse_over_forward import ReverseOverForward
from inputgrad.engines.weight_as_step import WeightAsStep
from inputgrad.errors import nearest

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Auto, DoubleBackward, ReverseOverForward, FiniteDifference, WeightAsStep, Compiled)}


def resolve(engine: str | Engine) -> Engine:
    """The engine that a name or an object stands for. Raises `ValueError` for an unknown name."""
    if isinstance(engine, Engine):
        return engine
    if isinstance(engine, str) and engine in ENGINES:
        return ENGINES[engine]()
    raise ValueError(f"engine={engine!r} is not an engine; {nearest(engine, ENGINES)}, or pass an engine object")
