"""State that a user's modules keep in plain attributes: a hidden state, a count of calls, a queue, a generator, objects of these.

A later pass of a step starts from what the first one started from, and leaves what the first one left. What torch's own modules keep is not touched.
"""

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from inputgrad.devices import is_readable
from inputgrad.torch_internals.functorch import is_transforming
from inputgrad.torch_internals.tensors import times_written
from inputgrad.torch_internals.tracing import is_tracing

LARGE = 1 << 20
"""Numbers of a tensor from which on what is written to it is not undone: a data set that hangs on a module is not copied."""

MANY = 1000
"""How many objects are remembered at the most, those that a module holds first: a data set is not walked through."""
Restore = Callable[[], None]

_TORCHS = frozenset(vars(nn.Module()))
"""The names of what ``nn.Module`` itself keeps: parameters, buffers, parts, hooks, the mode."""


class AttributeState:
    """The plain attributes of a model's modules as they are now."""

    def __init__(self, model: nn.Module | None) -> None:
        kept = [] if model is None or is_tracing() else [module for module in model.modules() if users_attributes(module)]
        self._model = model
        self._kept = [(vars(module), own_attributes(vars(module))) for module in kept]
        self._contents = _Contents()
        for _, before in self._kept:
            self._contents.take(tuple(before.values()))

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Around a run that starts from them, and leaves those of the present."""
        now = AttributeState(self._model) if self._kept else self
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def restore(self) -> None:
        """Put them back."""
        for attributes, before in self._kept:
            for name in [name for name in attributes if name not in before and name not in _TORCHS]:
                del attributes[name]
            attributes.update(before)
        for restore in self._contents.restores:
            restore()


def users_attributes(module: nn.Module) -> dict[str, Any]:
    """The plain attributes of a module of the user's; none of one of torch's."""
    return own_attributes(vars(module)) if is_users(module) else {}


def own_attributes(everything: dict[str, Any]) -> dict[str, Any]:
    """Of all that a module holds, what ``nn.Module`` itself does not keep."""
    return {} if _TORCHS.issuperset(everything) else {name: value for name, value in everything.items() if name not in _TORCHS}


def have_changed(everything: dict[str, Any], before: dict[str, Any], count: int) -> bool:
    """Whether there are other attributes than before, or another object under one of them; not whether one was changed in place.

    everything: all that a module holds, of which ``before`` were the user's; count: how many entries it had.
    """
    if len(everything) != count and own_attributes(everything).keys() != before.keys():
        return True
    return any((now := everything.get(name, _GONE)) is not value and not _is_equal(now, value) for name, value in before.items())


_GONE = object()


def _is_equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and isinstance(a, (bool, int, float, complex, str, bytes)) and a == b


def is_users(module: nn.Module) -> bool:
    """Whether it is of a kind whose attributes are the user's."""
    kind = type(module)
    if kind.__module__.startswith("torch.") or isinstance(module, (LazyModuleMixin, torch.jit.ScriptModule)):
        return False
    return not any(base.__module__.startswith("torch.distributed.") for base in kind.__mro__)


class _Contents:
    """What puts back the content of values that may be changed in place: lists and dictionaries in one another, objects of a user's own, generators."""

    def __init__(self) -> None:
        self.restores: list[Restore] = []
        self._known: dict[int, Any] = {}  # held, so that no other object takes the identity of one

    def take(self, value: Any) -> None:
        """Remember a value and what it holds, each object once and `MANY` of them at the most."""
        todo = [value]
        while todo and len(self._known) < MANY:
            one = todo.pop()
            if isinstance(one, _PLAIN) or id(one) in self._known:
                continue
            self._known[id(one)] = one
            restore, held = _restoring(one)
            if restore is not None:
                self.restores.append(restore)
            todo.extend(reversed(held))


_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, torch.dtype, torch.device)


def _restoring(value: Any) -> tuple[Restore | None, list[Any]]:
    """What puts one object back, and the objects in it."""
    if isinstance(value, Tensor):
        return _of_tensor(value), []
    if isinstance(value, torch.Generator):
        return partial(_set, value, value.get_state()), []
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate()), []
    if (numpy := sys.modules.get("numpy")) is not None and isinstance(value, (numpy.ndarray, numpy.random.Generator, numpy.random.RandomState)):
        return _of_numpy(value), []
    if isinstance(value, (list, deque)):
        return _of_list(value, list(value)), list(islice(value, MANY))
    if isinstance(value, dict):
        return _of_dict(value, dict(value)), list(islice(value.values(), MANY))
    if isinstance(value, set):
        return _of_set(value, set(value)), []
    if isinstance(value, tuple):
        return None, list(value[:MANY])
    if not _is_of_users(value):
        return None, []
    attributes = vars(value)
    return _of_dict(attributes, dict(attributes)), list(attributes.values())


def _is_of_users(value: Any) -> bool:
    """Whether an object's attributes are the user's: not those of a module, whose state is kept as such, nor of a package's own machinery."""
    kind = type(value)
    return hasattr(value, "__dict__") and not isinstance(value, nn.Module) and kind.__module__.split(".")[0] not in _MACHINERY


_MACHINERY = frozenset({"torch", "inputgrad", *sys.stdlib_module_names} - {"argparse", "types", "__main__"})


def _set(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _of_tensor(value: Tensor) -> Restore | None:
    if value.requires_grad or value.numel() >= LARGE or value.layout != torch.strided or value.is_inference():
        return None
    version, content = times_written(value), value.detach().clone()

    def restore() -> None:
        if times_written(value) != version:
            value.detach().copy_(content)
        elif is_readable(value):  # written on by a kernel that does not count it, such as that of running statistics
            if not torch.equal(value.detach(), content):
                value.detach().copy_(content)
        elif not is_tracing() and not is_transforming():
            value.data.copy_(content)

    return restore


def _of_numpy(value: Any) -> Restore | None:
    if hasattr(value, "bit_generator"):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if hasattr(value, "set_state"):
        return partial(value.set_state, value.get_state())
    content = value.copy() if value.size < LARGE else None
    return None if content is None or not value.flags.writeable else partial(value.__setitem__, ..., content)


def _of_list(value: Any, before: list[Any]) -> Restore:
    def restore() -> None:
        if len(value) != len(before) or any(one is not other for one, other in zip(value, before, strict=True)):
            value.clear()
            value.extend(before)

    return restore


def _of_dict(value: dict[Any, Any], before: dict[Any, Any]) -> Restore:
    def restore() -> None:
        if value.keys() != before.keys() or any(value[key] is not item for key, item in before.items()):
            value.clear()
            value.update(before)

    return restore


def _of_set(value: set[Any], before: set[Any]) -> Restore:
    def restore() -> None:
        value.intersection_update(before)
        value.update(before)

    return restore
