"""What a traced step depends on besides its arguments: the make of the model, and what the loss and its terms hold.

A trace takes all of it in as it was. So a program is used while none of it has changed, and takes in no tensor that could change unnoticed.
"""

import types
from collections.abc import Hashable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from inputgrad.torch_internals.modules import forward_hooks, forward_pre_hooks

_DEPTH = 5
"""How far tensors are followed through containers, closures and fields."""

_LARGE = 1000
"""Larger containers are not looked into; a tensor in one counts as one from out of sight."""


def model_form(model: nn.Module) -> Hashable:
    """Everything about a model that a trace takes in and that can change: its modules, their modes, hooks, plain settings and loose tensors."""
    return tuple(
        (id(module), type(module), module.training, tuple(forward_hooks(module)), tuple(forward_pre_hooks(module)), settings(module))
        for module in model.modules()
    )


def captured_state(*holders: Any) -> tuple[dict[int, Tensor], Hashable]:
    """What these objects hold, in fields, containers, closures, and globals that their functions name.

    The tensors, by identity; and all else that a trace takes in: numbers and texts by value, functions by their code, modules by their form.
    """
    tensors: dict[int, Tensor] = {}
    others: list[Hashable] = []
    seen: set[int] = set()
    waiting = [(holder, 0) for holder in reversed(holders)]
    while waiting:
        held, depth = waiting.pop()
        if isinstance(held, Tensor):
            tensors[id(held)] = held
        elif held is None or isinstance(held, (str, bytes, int, float, complex, type)):
            others.append(held)
        elif depth < _DEPTH and id(held) not in seen and not isinstance(held, types.ModuleType):
            seen.add(id(held))
            others.append(_kind(held))
            waiting.extend((inner, depth + 1) for inner in _held_by(held))
    return tensors, tuple(others)


def _kind(held: Any) -> Any:
    if isinstance(held, nn.Module):
        return model_form(held)
    return held.__code__ if isinstance(held, types.FunctionType) else type(held)


def _held_by(held: Any) -> Iterator[Any]:
    if isinstance(held, nn.Module):
        yield from (*held.parameters(), *held.buffers(), *(value for value in vars(held).values() if isinstance(value, Tensor)))
    elif isinstance(held, partial):
        yield from (held.func, *held.args, *held.keywords.values())
    elif isinstance(held, types.MethodType):
        yield from (held.__func__, held.__self__)
    elif isinstance(held, types.FunctionType):
        yield from (cell.cell_contents for cell in held.__closure__ or () if _filled(cell))
        yield from (held.__globals__[name] for name in held.__code__.co_names if name in held.__globals__)
        yield from (*(held.__defaults__ or ()), *(held.__kwdefaults__ or {}).values())
    elif isinstance(held, (dict, list, tuple, set, frozenset)):
        if len(held) <= _LARGE:
            yield from held.values() if isinstance(held, dict) else held
    elif is_dataclass(held):
        yield from (getattr(held, field.name) for field in fields(held))
    elif hasattr(held, "__dict__"):
        yield from vars(held).values()


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # empty before its variable is bound
    except ValueError:
        return False
    return True


def settings(module: nn.Module) -> Hashable:
    """A module's own plain settings, functions and loose tensors, by name."""
    own = vars(module)
    return frozenset((name, _plain(own[name])) for name in own.keys() - _TORCHS_OWN if _matters(own[name]))


def _plain(value: Any) -> Hashable:
    """A setting by value, a function by its code, a tensor by its object."""
    if isinstance(value, types.FunctionType):
        return value.__code__
    return id(value) if isinstance(value, Tensor) else value


def _matters(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, Tensor, types.FunctionType))


_TORCHS_OWN = frozenset(vars(nn.Module()))
