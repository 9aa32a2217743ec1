"""What one run of a model gave, and its first derivatives. Must not know how it was run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.torch_internals.tensors import times_written
from inputgrad.variables import Key


@dataclass(frozen=True)
class Run:
    """One run: the output ``[N, ...]`` with its graph, the variables in that graph, and what the model returned, whole."""

    output: Tensor
    variables: Mapping[Key, Tensor]
    returned: Any = None


class Slopes:
    """∂ Σ output / ∂z ``[N, ...]`` with its graph, for each variable z of which a term has taken it of a run."""

    def __init__(self) -> None:
        self.are_shared = False
        """Whether a term may have those that another one has taken."""
        self._taken: dict[Key, tuple[Tensor, int]] = {}
        self.were_given = self._earlier_were_written = False
        """Whether a term has got those of another one."""

    def of(self, keys: Iterable[Key]) -> tuple[Tensor, ...] | None:
        """Those of these variables; None where they are to be taken. Zeros without a graph stand for a path that is not there, which a term may want to say."""
        if not self.are_shared or not all(key in self._taken for key in keys):
            return None
        found = tuple(self._taken[key][0] for key in keys)
        if any(slope.grad_fn is None for slope in found):
            return None
        self.were_given = True
        return found

    def keep(self, keys: Iterable[Key], slopes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Remember these. Gives them."""
        self._earlier_were_written |= self.were_written
        self._taken.update((key, (slope, writes(slope))) for key, slope in zip(keys, slopes, strict=True))
        return slopes

    @property
    def were_written(self) -> bool:
        """Whether somebody has written on one since, as an equation may: ``r = u.d("t"); r -= u.value``."""
        return self._earlier_were_written or any(writes(slope) != count for slope, count in self._taken.values())

    def clear(self) -> None:
        """Let go of them."""
        self._taken.clear()


def writes(tensor: Tensor) -> int:
    """How often it was written on; not counted of an inference tensor."""
    return 0 if tensor.is_inference() else times_written(tensor)
