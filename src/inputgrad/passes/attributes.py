"""State that a user's modules keep in plain attributes: a hidden state, a count of calls, a queue, a generator of their own.

A later pass of a step starts from what the first one started from, and leaves what the first one left. What torch's own modules keep is not touched.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from inputgrad.torch_internals.tensors import times_written
from inputgrad.torch_internals.tracing import is_tracing

LARGE = 1 << 20
"""Numbers of a tensor from which on what is written to it is not undone: a data set that hangs on a module is not copied."""

Restore = Callable[[], None]


_TORCHS = frozenset(vars(nn.Module()))
"""The names of what ``nn.Module`` itself keeps: parameters, buffers, parts, hooks, the mode."""


class AttributeState:
    """The plain attributes of a model's modules as they are now."""

    def __init__(self, model: nn.Module | None) -> None:
        kept = [] if model is None or is_tracing() else [module for module in model.modules() if _is_users(module)]
        self._model = model
        self._kept = [(vars(module), _own(module), [_restoring(value) for value in _own(module).values()]) for module in kept]

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
        for attributes, before, contents in self._kept:
            for name in [name for name in attributes if name not in before and name not in _TORCHS]:
                del attributes[name]
            attributes.update(before)
            for restore in contents:
                if restore is not None:
                    restore()


def _own(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _TORCHS}


def _is_users(module: nn.Module) -> bool:
    kind = type(module)
    if kind.__module__.startswith("torch.") or isinstance(module, (LazyModuleMixin, torch.jit.ScriptModule)):
        return False
    return not any(base.__module__.startswith("torch.distributed.") for base in kind.__mro__) and vars(module).keys() > _TORCHS


def _restoring(value: Any) -> Restore | None:
    """What puts the content of a value back that may be changed in place."""
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, torch.Generator):
        return partial(_set, value, value.get_state())
    if type(value) in (list, deque):
        return _of_list(value, list(value))
    if type(value) is dict:
        return _of_dict(value, dict(value))
    return None


def _set(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _of_tensor(value: Tensor) -> Restore | None:
    if value.requires_grad or value.numel() >= LARGE or value.layout != torch.strided or value.is_inference():
        return None
    version, content = times_written(value), value.detach().clone()

    def restore() -> None:
        if times_written(value) != version:
            value.detach().copy_(content)

    return restore


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
