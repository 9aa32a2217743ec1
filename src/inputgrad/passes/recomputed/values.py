"""What is known of tensors that were computed: by which operation, and whether their memory is held by a graph anyway."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import torch
from torch import Tensor

from inputgrad.passes.recomputed.operations import is_linear, is_piecewise, is_product
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.storages import address, weak_storage, weak_tensor
from inputgrad.torch_internals.tensors import times_written

LONGEST = 24
"""How many operations may lie between a tensor and those that it can be made of again."""
SWEEP = 64
"""After how many new tensors those that are gone are forgotten."""

Geometry = tuple[int, torch.dtype, int, tuple[int, ...], tuple[int, ...]]
"""Where a tensor lies: memory, type, offset, shape, strides."""


_Allowed = tuple[int, bool]
"""How many matrix products may still be made again on the way to a tensor, and whether there was one."""


def geometry(tensor: Tensor) -> Geometry:
    return address(tensor), tensor.dtype, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()


@dataclass(eq=False)
class Held:
    """Memory that a graph holds, by a tensor that lies in it. users: the saved tensors that can be made again of it alone."""

    tensor: Tensor
    version: int
    users: "WeakSet[Any]" = field(default_factory=WeakSet)

    def at(self, place: Geometry) -> Tensor:
        """The tensor at a place in this memory."""
        return self.tensor if geometry(self.tensor) == place else self.tensor.as_strided(place[3], place[4], place[2])


@dataclass(frozen=True)
class Recipe:
    """An operation, its arguments with a `Value` in place of each tensor, and which of its results is meant; None for the only one."""

    operation: Any
    leaves: list[Any]
    structure: Any
    result: int | None

    def arguments(self) -> list["Value"]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Value)]

    def run(self, tensor_of: "Callable[[Value], Tensor]") -> Tensor:
        args, kwargs = pytree.unflatten([tensor_of(leaf) if isinstance(leaf, Value) else leaf for leaf in self.leaves], self.structure)
        results = self.operation(*args, **kwargs)
        found: Tensor = results if self.result is None else results[self.result]
        return found


class Value:
    """A tensor as it was at one time: where it lay, and the recipe for it, if there is one. Does not keep the tensor."""

    def __init__(self, tensor: Tensor, recipe: Recipe | None = None) -> None:
        self.recipe = recipe
        self.length: int = 1 + max((value.length for value in recipe.arguments()), default=0) if recipe else 0
        if self.length > LONGEST:
            self.recipe, self.length = None, 0
        self.lies_at(tensor)

    def lies_at(self, tensor: Tensor) -> None:
        """It was made again, and lies at another place now."""
        self.place, self.version, self.device = geometry(tensor), times_written(tensor), tensor.device.type
        self._memory = weak_storage(tensor)  # while it is kept, the address is not given away again
        self._tensor = weak_tensor(tensor)

    def tensor(self) -> Tensor | None:
        """The tensor itself, if it is still there and as it was."""
        found = self._tensor()
        return found if found is not None and times_written(found) == self.version else None


class Values:
    """The values by their places, and which memory is held."""

    def __init__(self) -> None:
        self._known: dict[Geometry, tuple[Any, int, Value]] = {}
        self._held: WeakValueDictionary[tuple[int, torch.dtype], Held] = WeakValueDictionary()
        self._counted = 0

    def of(self, tensor: Tensor) -> Value:
        """What is known of a tensor."""
        found = self._known.get(geometry(tensor))
        if found is not None and not found[0].expired() and found[1] == times_written(tensor):
            return found[2]
        return self.enter(tensor, Value(tensor))

    def enter(self, tensor: Tensor, value: Value) -> Value:
        self._counted += 1
        if self._counted % SWEEP == 0:
            self._known = {place: known for place, known in self._known.items() if not known[0].expired()}
        self._known[geometry(tensor)] = weak_storage(tensor), times_written(tensor), value
        return value

    def record(self, operation: Any, args: Any, kwargs: Any, results: Any) -> None:
        """Keep the recipe of what an operation gave."""
        leaves, structure = pytree.flatten((args, kwargs))
        if any(isinstance(leaf, Tensor) and not is_plain(leaf) for leaf in leaves):
            return
        leaves = [self.of(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for number, result in enumerate(results if isinstance(results, (tuple, list)) else [results]):
            if isinstance(result, Tensor) and is_plain(result):
                recipe = Recipe(operation, leaves, structure, None if result is results else number)
                same = [value for value in recipe.arguments() if value.place == geometry(result)]  # detach
                self.enter(result, same[0] if same else Value(result, recipe))

    def held(self, value: Value) -> Held | None:
        """The memory of a value, where it is held and as it was."""
        found = self._held.get(value.place[:2])
        return found if found is not None and found.version == value.version == times_written(found.tensor) else None

    def is_held(self, tensor: Tensor) -> bool:
        return (address(tensor), tensor.dtype) in self._held

    def users(self, tensor: Tensor) -> list[Any]:
        """What is made again of the memory that a tensor lies in."""
        return [user for (place, _), held in list(self._held.items()) if place == address(tensor) for user in list(held.users)]

    def hold(self, tensor: Tensor) -> Held:
        """The memory of a tensor, held from here on for as long as the record is kept."""
        key, version = (address(tensor), tensor.dtype), times_written(tensor)
        found = self._held.get(key)
        if found is None or found.version != version:
            found = self._held[key] = Held(tensor.detach(), version)
        return found

    def ingredients(self, value: Value, products: int) -> dict[int, Tensor] | None:
        """The tensors, by their addresses, that a value can be made of by its recipe and no more than so many matrix products in a row; None where it cannot.

        They are there now: held anyway, or still referred to by others. Between a product and them nothing may lie but what is linear.
        """
        if value.recipe is None:
            return None
        found: dict[int, Tensor] = {}
        allowed = products if is_piecewise(value.recipe.operation) else 0
        return found if self._add_recipe(value, (allowed, False), found, {}) else None

    def _add_recipe(self, value: Value, allowed: _Allowed, found: dict[int, Tensor], known: dict[tuple[int, _Allowed], bool]) -> bool:
        products, is_after_product = allowed
        if value.recipe is None:
            return False
        if is_product(value.recipe.operation):
            products, is_after_product = products - 1, True
        elif not is_linear(value.recipe.operation):
            products = -1 if is_after_product else 0
        return products >= 0 and all(self._add(argument, (products, is_after_product), found, known) for argument in value.recipe.arguments())

    def _add(self, value: Value, allowed: _Allowed, found: dict[int, Tensor], known: dict[tuple[int, _Allowed], bool]) -> bool:
        if (asked := (id(value), allowed)) in known:
            return known[asked]
        tensor = held.tensor if (held := self.held(value)) is not None else None
        if tensor is None:
            trial = dict(found)
            if self._add_recipe(value, allowed, trial, known):
                found |= trial
                known[asked] = True
                return True
            tensor = value.tensor()
        if tensor is not None:
            found[address(tensor)] = tensor
        known[asked] = tensor is not None
        return tensor is not None


def is_plain(tensor: Tensor) -> bool:
    """Whether it lies in memory in the plain way, and is of no type with rules of its own."""
    return type(tensor) in _PLAIN and tensor.layout == torch.strided and not (tensor.is_conj() or tensor.is_neg()) and tensor.device.type != "meta"


_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
