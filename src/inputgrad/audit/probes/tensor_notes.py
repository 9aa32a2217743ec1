"""What is known of one tensor or number of the user's; a plain number carries it along itself. Records alone: follows nothing."""

from dataclasses import dataclass, field
from typing import Any

from inputgrad.audit.observations.tensor_origins import DeadTerm, Origin


@dataclass(frozen=True)
class TensorNote:
    """What is known of one tensor (or number)."""

    origins: dict[int, Origin] = field(default_factory=dict)
    """By the input gradient's identity."""
    dead: tuple[DeadTerm, ...] = ()
    mean_over: int | None = None
    summed_outputs: int | None = None
    sum_of: tuple[int, ...] = ()
    scaled: bool = False
    unrecorded: bool = False
    """Whether it was computed while gradients were off, from what requires one."""


EMPTY = TensorNote()


class TrackedFloat(float):
    """A plain number that was taken out of a tensor that comes from an input gradient: arithmetic keeps the note, everything else sees a float."""

    note: TensorNote

    @classmethod
    def of(cls, value: float, note: TensorNote) -> "TrackedFloat":
        number = cls(value)
        number.note = note
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float(self),)


def _arithmetic(name: str) -> Any:
    plain = getattr(float, name)

    def operation(self: TrackedFloat, *others: Any) -> Any:
        result = plain(self, *others)
        return TrackedFloat.of(result, self.note) if isinstance(result, float) else result

    operation.__name__ = name
    return operation


for _name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__neg__", "__abs__", "__pow__"):
    setattr(TrackedFloat, _name, _arithmetic(_name))
