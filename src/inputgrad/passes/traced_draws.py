"""While a step is traced into a graph: drawing the same random numbers in every pass of the step.

In eager mode `replay` sets the generator back; in a graph there is none to set back, so the first pass's draws themselves are handed to the later ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from inputgrad.errors import EngineError
from inputgrad.torch_internals.kernels import is_fused_attention
from inputgrad.torch_internals.tracing import TorchDispatchMode, argument_names, operation_name, writes_in_place


def draws_random_numbers(operation: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation of a graph, called so, draws random numbers. Fused attention is tagged so, and draws none without dropout."""
    if torch.Tag.nondeterministic_seeded not in getattr(operation, "tags", ()):
        return False
    if not is_fused_attention(operation_name(operation)):
        return True
    return bool({**dict(zip(argument_names(operation), args, strict=False)), **kwargs}.get("dropout_p", 0.0))


class TracedDraws(TorchDispatchMode):
    """The random draws of one pass, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: list[Tensor] = []
        self._next: int | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        """Around a pass: the first one draws, the later ones are handed the same."""
        if self._next is not None:
            self._next = 0
        with self:
            yield
        self._next = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if not draws_random_numbers(func, args, kwargs or {}):
            return func(*args, **(kwargs or {}))
        in_place = writes_in_place(func)
        name = operation_name(func).removeprefix("aten::")
        if self._next is None:
            result = func(*args, **(kwargs or {}))
            if name in _REPLAYED:
                self._drawn.append((result[1] if name == "native_dropout" else result).clone())  # a clone: the caller may go on working on it in place
            return result
        if name not in _REPLAYED or self._next >= len(self._drawn):
            raise EngineError(f"the random operation {name} in a further pass of the step cannot be given the first pass's draws inside a graph")
        drawn = self._drawn[self._next]
        self._next += 1
        if name == "native_dropout":
            return args[0] * drawn * (1 / (1 - args[1]) if args[1] < 1 else 0.0), drawn
        return args[0].copy_(drawn) if in_place else drawn.clone()


_DISTRIBUTIONS = ("bernoulli", "exponential", "normal", "rand", "randint", "randn", "randperm", "uniform")
_REPLAYED = frozenset(name for root in _DISTRIBUTIONS for name in (root, f"{root}_", f"{root}_like")) | {"native_dropout"}
