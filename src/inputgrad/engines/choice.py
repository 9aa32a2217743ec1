"""The choice of an engine: by name, by object, or by what the model allows (``"auto"``)."""

from dataclasses import dataclass
from typing import ClassVar

from inputgrad.engines.base import Engine, Linearization, Traits
from inputgrad.engines.double_backward import DoubleBackward
from inputgrad.engines.forward import ForwardPass
from inputgrad.errors import nearest
from inputgrad.heads import Score
from inputgrad.places import Key


@dataclass(frozen=True)
class Auto(Engine):
    """Double backward where the model allows it."""

    name: ClassVar[str] = "auto"
    traits: ClassVar[Traits] = Traits(exact=True, needs="what the engine that it takes needs")

    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        return DoubleBackward().linearize(forward, score, wrt)


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Auto, DoubleBackward)}


def resolve(engine: str | Engine) -> Engine:
    """The engine that a name or an object stands for. Raises `ValueError` for an unknown name."""
    if isinstance(engine, Engine):
        return engine
    if isinstance(engine, str) and engine in ENGINES:
        return ENGINES[engine]()
    raise ValueError(f"engine={engine!r} names no engine; {nearest(engine, ENGINES)}, or pass an engine object")
