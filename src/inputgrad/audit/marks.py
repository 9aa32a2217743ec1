"""What is known of one tensor or number of the user's; a plain number carries it along itself."""

from dataclasses import dataclass, field
from typing import Any

from inputgrad.audit.trails import Dead, Trail


@dataclass(frozen=True)
class Mark:
    """What is known of one tensor (or number)."""

    trails: dict[int, Trail] = field(default_factory=dict)
    """By the source's identity."""
    dead: tuple[Dead, ...] = ()
    mean_over: int | None = None
    summed_outputs: int | None = None
    scaled: bool = False
    unrecorded: bool = False
    """Whether it was computed while gradients were off, from what requires one."""

    @property
    def alive(self) -> list[Trail]:
        return [trail for trail in self.trails.values() if trail.alive]


EMPTY = Mark()


class Number(float):
    """A plain number that was taken out of a tensor that comes from a source: arithmetic keeps the mark, everything else sees a float."""

    mark: Mark

    @classmethod
    def of(cls, value: float, mark: Mark) -> "Number":
        number = cls(value)
        number.mark = mark
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)


def _arithmetic(name: str) -> Any:
    plain = getattr(float, name)

    def operation(self: Number, *others: Any) -> Any:
        result = plain(self, *others)
        return Number.of(result, self.mark) if isinstance(result, float) else result

    operation.__name__ = name
    return operation


for _name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__neg__", "__abs__", "__pow__"):
    setattr(Number, _name, _arithmetic(_name))
