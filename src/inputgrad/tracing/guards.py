"""What a traced step depends on besides its arguments: the make of the model, and what the loss and its terms hold.

A trace takes all of it in as it was. So a program is used while none of it has changed, and takes in no tensor that could change unnoticed.
"""

import types
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.torch_internals.modules import forward_hooks, forward_pre_hooks

_DEPTH = 5
"""How far tensors are followed through containers, closures and fields."""

_LARGE = 1000
"""Larger containers are not looked into; a tensor in one counts as one from out of sight."""


def model_form(model: nn.Module) -> Hashable:
    """Everything about a model that a trace takes in and that can change: its modules, their modes, hooks, plain settings and loose tensors."""
    looked: dict[int, Hashable] = {}
    return tuple(
        (id(module), type(module), module.training, tuple(forward_hooks(module)), tuple(forward_pre_hooks(module)), settings(module, looked))
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


def settings(module: nn.Module, looked: dict[int, Hashable] | None = None) -> Hashable:
    """A module's own plain settings, functions and loose tensors, by name, and what its containers and objects hold of such.

    looked: what was found in containers and objects already, by identity, since the modules of a model often share one.
    """
    own, looked = vars(module), {} if looked is None else looked
    return frozenset((name, _setting(own[name], looked)) for name in own.keys() - TORCHS_OWN)


def _setting(value: Any, looked: dict[int, Hashable]) -> Hashable:
    """A loose tensor by its object; all else as in `held_settings`, a shared container or object looked at once."""
    if isinstance(value, Tensor):
        return id(value)
    if not holds_settings(value):
        return held_settings(value)
    if id(value) not in looked:
        looked[id(value)] = held_settings(value)
    return looked[id(value)]


def holds_settings(value: Any) -> bool:
    """Whether it is a container, or an object such as a configuration; modules and tensors are looked at elsewhere, functions and classes never change."""
    return isinstance(value, _CONTAINERS) or (hasattr(value, "__dict__") and not isinstance(value, (nn.Module, Tensor, *_FUNCTIONS, types.ModuleType)))


def held_settings(value: Any, depth: int = 0) -> Hashable:
    """What a container holds, or an object that is a module's own: numbers and texts by value, functions by their code, classes; of all else its type."""
    if isinstance(value, (*_PLAIN, types.BuiltinFunctionType, type)):
        return value
    if isinstance(value, types.FunctionType):
        return value.__code__
    inside = _inside(value, depth)
    if inside is None or depth == _DEPTH or len(inside) > _LARGE:
        return type(value)  # type: ignore[return-value]  # mypy takes a class for no Hashable
    return (type(value), tuple(held_settings(part, depth + 1) for part in inside))


def _inside(value: Any, depth: int) -> Sequence[Any] | None:
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords, *value.keywords.values())
    if isinstance(value, dict):
        return (*value, *value.values())
    if isinstance(value, _CONTAINERS):
        return tuple(value)
    return (*vars(value), *vars(value).values()) if depth == 0 and holds_settings(value) else None


_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, Enum)
_CONTAINERS = (dict, list, tuple, set, frozenset)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
TORCHS_OWN = frozenset(vars(nn.Module()))
"""What torch itself keeps in each module."""
