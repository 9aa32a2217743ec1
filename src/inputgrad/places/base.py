"""Places: where (`at`) the input gradient is taken, if not at the batch's own inputs.

Knows the batch; knows no head, no term and no engine.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inputgrad.batch import Batch


class Place(ABC):
    """``at``: other inputs than the batch's own, at which the input gradient is taken. Frozen: made once, drawn anew each step."""

    @abstractmethod
    def inputs(self, batch: "Batch") -> Any:
        """The inputs (tensor, tuple or dict, as the model is called) at which to differentiate; constants for the parameter gradient."""

    def target_at(self, batch: "Batch") -> Any:
        """The target of the samples there, for heads that need one: by default the batch's own."""
        return batch.target


def check_place(at: Any) -> Place:
    """The place itself. Raises `TypeError` for anything else."""
    if isinstance(at, Place):
        return at
    raise TypeError(f"at must be a place, such as inputgrad.places.Interpolate(...), or None for the batch's own inputs; got {type(at).__name__}")
