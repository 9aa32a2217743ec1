"""Whether a pass of a model leaves a trace: in a generator of random numbers, in a buffer, in an attribute of the user's.

Where none of the passes that were looked at has left one, each pass of a step finds what the first one found, and nothing need be put back between them.
Must not know engines and terms.
"""

from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import generator_state, set_generator_state
from inputgrad.memory import memory
from inputgrad.passes.attributes import users_attributes
from inputgrad.passes.random_state import RandomState, random_state
from inputgrad.torch_internals.modules import module_forms
from inputgrad.torch_internals.tensors import times_written
from inputgrad.torch_internals.tracing import is_tracing, without_dispatch_modes
from inputgrad.variables import ModelInputs

LOOKS = 3
"""How many passes of a form of a model are looked at."""
MANY = 100
"""How many entries of a list or a dict are looked at; where there are more it is taken for one that changes."""

Snapshot = tuple[RandomState, list[Any]]


def leaves_no_trace(model: nn.Module) -> bool:
    """Whether passes of the model, made as it is now, have been looked at and have left none."""
    looks = memory(model).measured.get(_key(model), 0)
    return isinstance(looks, int) and looks > 0


def snapshot(model: nn.Module, before: RandomState) -> Snapshot | None:
    """What a pass may leave a trace in, before it is made; None where it is known already. before: the state of the generators."""
    looks = 0 if is_tracing() else memory(model).measured.get(_key(model), 0)
    return None if is_tracing() or looks is None or looks >= LOOKS else (before, list(_contents(model)))


def look(model: nn.Module, before: Snapshot) -> None:
    """Compare with what is there after the pass, and remember what was found."""
    state, contents = before
    known, key = memory(model).measured, _key(model)
    with without_dispatch_modes():
        alike = _UNSEEN not in contents and _same(state, random_state(state.devices)) and contents == list(_contents(model))
    known[key] = known.get(key, 0) + 1 if alike else None


class Draws:
    """The state of torch's generators before a step: whether its first pass, of several, has drawn from them after all."""

    def __init__(self, inputs: ModelInputs) -> None:
        devices = {z.device for _, z in inputs.tensors()}
        self._cpu = torch.get_rng_state()
        self._of_devices = {device: generator_state(device) for device in devices if device.type != "cpu"}

    def are_made(self, model: nn.Module) -> bool:
        """Whether they are others now. Then later steps of the model take it for one that leaves a trace."""
        others = ((state, generator_state(device)) for device, state in self._of_devices.items())
        if torch.equal(self._cpu, torch.get_rng_state()) and all(a is None or b is None or torch.equal(a, b) for a, b in others):
            return False
        memory(model).measured[_key(model)] = None
        return True

    def rewind(self) -> None:
        """Put the state back."""
        torch.set_rng_state(self._cpu)
        for device, state in self._of_devices.items():
            set_generator_state(device, state)


def _key(model: nn.Module) -> tuple[str, int]:
    return ("passes without a trace", hash(tuple(module_forms(model))))


def _same(a: RandomState, b: RandomState) -> bool:
    devices = ((state, generator_state(device)) for device, state in a.of_devices.items())
    return (
        torch.equal(a.torchs, b.torchs)
        and a.pythons == b.pythons
        and (a.numpys is None or _numpys(a) == _numpys(b))  # None: the pass has loaded numpy
        and all(before is not None and now is not None and torch.equal(before, now) for before, now in devices)
    )


def _numpys(state: RandomState) -> Any:
    return state.numpys and (state.numpys[1].tobytes(), *state.numpys[2:])


def _contents(model: nn.Module) -> Iterator[Any]:
    """The identities of what modules keep, and how often tensors were written; `_UNSEEN` for what may change unseen."""
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            yield id(tensor), times_written(tensor)
        for name, value in users_attributes(module).items():
            yield name
            yield from _content(value)


_UNSEEN = object()
"""Stands for what may change without being seen."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_BY_IDENTITY = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, nn.Module)


def _content(value: Any, depth: int = 3) -> Iterator[Any]:
    if isinstance(value, Tensor):
        yield id(value), times_written(value)
    elif isinstance(value, _PLAIN):
        yield value
    elif isinstance(value, _BY_IDENTITY):
        yield id(value)
    elif depth and isinstance(value, (tuple, list, dict)) and len(value) <= MANY:
        yield tuple(value) if isinstance(value, dict) else len(value)
        for item in value.values() if isinstance(value, dict) else value:
            yield from _content(item, depth - 1)
    else:
        yield _UNSEEN
