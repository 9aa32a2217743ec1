"""What a graph saves, exchanged for recipes: `Recomputation.recording` is put around the passes that make the graph.

A graph holds what its operations saved for their derivatives. When autograd saves a tensor that can be made again, by cheap operations, of tensors that are
held already or are smaller, the recipe is saved in its place. What was saved twice is so held once, and what follows from it not at all. The operations
are run again as they ran, on the same numbers, so that the derivatives are the same, bit for bit.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.errors import EngineError
from inputgrad.passes.recomputed.operations import is_cheap, is_product
from inputgrad.passes.recomputed.values import Held, Value, Values, geometry, is_plain
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.operations import is_pure, written_arguments
from inputgrad.torch_internals.tensors import times_written
from inputgrad.torch_internals.tracing import TorchDispatchMode

SMALL = 1 << 12
"""Bytes below which nothing is made again."""
RECENT = 2
"""How many results of matrix products that were just made again are kept for the next ones that follow from them."""
PRODUCTS = 2
"""How many matrix products in a row of the backward pass that gives the input gradient are made again: every third one's result is held."""


class Saved:
    """A tensor that autograd saved: itself, or what it is made of again."""

    def __init__(self, owner: "Recomputation", value: Value, held: list[Held], *, itself: bool) -> None:
        self.owner, self.value, self.held, self.itself = owner, value, held, itself
        self.place = value.place

    def tensor(self) -> Tensor:
        if any(times_written(held.tensor) != held.version for held in self.held):
            raise RuntimeError(_WRITTEN)
        return self.held[0].at(self.place) if self.itself else self.owner.made_again(self.value)

    def settle(self) -> None:
        """Make it now: what it is made of is about to be written over."""
        if not self.itself:
            tensor = self.owner.made_again(self.value)
            self.held, self.place, self.itself = [self.owner.values.hold(tensor)], geometry(tensor), True


_WRITTEN = (
    "one of the variables needed for gradient computation has been modified by an inplace operation, such as a step of the optimizer between the call of the "
    "criterion and loss.backward()"
)


@dataclass(frozen=True)
class _AsItIs:
    """A saved tensor of which nothing is known: sparse, or of a type of its own."""

    kept: Tensor
    version: int

    def tensor(self) -> Tensor:
        if times_written(self.kept) != self.version:
            raise RuntimeError(_WRITTEN)
        return self.kept


class Recomputation:
    """The recipes of one forward pass and of its backward pass.

    free: tensors that live on anyway (parameters, buffers, inputs). products: how many matrix products in a row of the backward pass may be made again.
    """

    def __init__(self, free: Iterable[Tensor], products: int = 0) -> None:
        self.values = Values()
        self._free = [self.values.hold(tensor) for tensor in free if is_plain(tensor)]
        self._products = products
        self._recent: deque[tuple[Value, Tensor]] = deque(maxlen=RECENT)
        self.is_working = False

    @contextmanager
    def recording(self, *, backward: bool = False) -> Iterator[None]:
        """Around a pass whose graph is to be small. Raises `EngineError` where the model uses transforms of ``torch.func``."""
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._saved, lambda saved: saved.tensor()), _Recorder(self, products=backward and self._products > 0):
                yield
        except RuntimeError as error:
            if "saved tensor hooks" not in str(error):
                raise
            raise EngineError(
                f"recompute= works by hooks on saved tensors, which transforms of torch.func inside a model do not allow (torch: {str(error)[:100]!r}). "
                "Use engine='double_backward'"
            ) from error

    def _saved(self, tensor: Tensor) -> "Saved | _AsItIs":
        if not is_plain(tensor):
            return _AsItIs(tensor, times_written(tensor))
        with self._at_work():
            value = self.values.of(tensor)
            size = tensor.numel() * tensor.element_size()
            if size >= SMALL and not self.values.is_held(tensor) and (parts := self.values.ingredients(value, self._products)) is not None:
                new = sum(part.untyped_storage().nbytes() for part in parts.values() if not self.values.is_held(part))
                if new < min(size, tensor.untyped_storage().nbytes()):
                    saved = Saved(self, value, [self.values.hold(part) for part in parts.values()], itself=False)
                    for held in saved.held:
                        held.users.add(saved)
                    return saved
            value.length = 0
            return Saved(self, value, [self.values.hold(tensor)], itself=True)

    def made_again(self, value: Value) -> Tensor:
        """The tensor of a value: where its memory is held, or by its recipe."""
        with self._at_work(), torch.no_grad(), torch.autocast(value.device, enabled=False):
            tensor = self._made(value, {})
        self.values.enter(tensor, value)
        return tensor

    def _made(self, value: Value, known: dict[int, Tensor]) -> Tensor:
        if (held := self.values.held(value)) is not None:
            return held.at(value.place)
        if id(value) not in known:
            assert value.recipe is not None
            made = next((tensor for kept, tensor in self._recent if kept is value), None)
            if made is None:
                made = value.recipe.run(lambda argument: self._made(argument, known))
                if is_product(value.recipe.operation):
                    self._recent.append((value, made))
            known[id(value)] = made
        return known[id(value)]

    def before(self, operation: Any, args: Any, kwargs: Any) -> None:
        """What an operation is about to write over is not there afterwards."""
        for tensor in pytree.leaves(written_arguments(operation, args, kwargs)):
            for saved in self.values.users(tensor) if isinstance(tensor, Tensor) and is_plain(tensor) else ():
                saved.settle()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Around operations of its own, which need no recipes."""
        before, self.is_working = self.is_working, True
        try:
            yield
        finally:
            self.is_working = before


class _Recorder(TorchDispatchMode):
    """Shows a `Recomputation` every operation of a pass."""

    def __init__(self, owner: Recomputation, *, products: bool) -> None:
        super().__init__()
        self._owner, self._products = owner, products

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if self._owner.is_working:
            return func(*args, **kwargs)
        if not is_pure(func):
            self._owner.before(func, args, kwargs)
        results = func(*args, **kwargs)
        if is_cheap(func) or (self._products and is_product(func)):
            self._owner.values.record(func, args, kwargs, results)
        return results
