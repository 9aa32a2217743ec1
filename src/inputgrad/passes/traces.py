"""Which traces a pass of a model leaves: in torch's generators of random numbers, in buffers, elsewhere (in attributes of the user's, in other generators).

Where it is generators and buffers alone, no more than these need be put back between the passes of a step. Must not know engines and terms.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import generator_state, set_generator_state
from inputgrad.memory import memory
from inputgrad.passes.attributes import LARGE, users_attributes
from inputgrad.passes.random_state import RandomState, random_state
from inputgrad.torch_internals.modules import module_forms, own_buffers
from inputgrad.torch_internals.tensors import is_at_hand, times_written
from inputgrad.torch_internals.tracing import is_tracing, is_watched, without_dispatch_modes
from inputgrad.variables import ModelInputs

LOOKS = 3
"""How many passes of a form of a model are looked at."""
MANY = 100
"""How many entries of a list or a dict are looked at; where there are more it is taken for one that changes."""

SMALL = 4096
"""Numbers of a buffer up to which it is put back whether or not it was seen to be written on: it costs less than to know."""
BufferNames = frozenset[tuple[str, str]]
"""Buffers, each by the name of its module in the model and its own."""


@dataclass(frozen=True)
class Traces:
    """What was seen of the passes of a model, made as it is now.

    looks: how many were looked at. draws: whether one drew from torch's generators. buffers: those that one wrote on, or put another in the place of.
    others: whether one left a trace of another kind.
    """

    looks: int = 0
    draws: bool = False
    buffers: BufferNames = frozenset()
    others: bool = False

    @property
    def can_be_undone(self) -> bool:
        """Whether it is known that generators and buffers are all that need be put back."""
        return self.looks > 0 and not self.others


def traces_of(model: nn.Module) -> Traces:
    """What is known of passes of the model as it is now."""
    found: Traces = memory(model).measured.get(_key(model), Traces())
    return found


def note(model: nn.Module, *, draws: bool = False, others: bool = False) -> None:
    """Remember what a later pass of the model has done: drawn from torch's generators, or left a trace of another kind."""
    known = traces_of(model)
    memory(model).measured[_key(model)] = replace(known, draws=known.draws or draws, others=known.others or others)


def note_writing(model: nn.Module) -> None:
    """Remember that a term, such as one with an equation of the user's, writes in place on what a pass of the model gave it."""
    memory(model).checked.add(_WRITES)


def is_written_on(model: nn.Module) -> bool:
    """Whether a term was seen to do so."""
    return _WRITES in memory(model).checked


_WRITES = "a term writes on what it is given"


@dataclass(frozen=True)
class Snapshot:
    """What a pass may leave a trace in, before it is made."""

    generators: RandomState
    buffers: "dict[tuple[str, str], _Seen]"
    others: list[Any]


def snapshot(model: nn.Module, before: RandomState) -> Snapshot | None:
    """What there is before a pass; None where its traces are known already. before: the state of the generators."""
    if is_tracing() or (known := traces_of(model)).others or known.looks >= LOOKS:
        return None
    return Snapshot(before, _buffers(model, copy=True), list(_contents(model, copy=True)))


def look(model: nn.Module, before: Snapshot, *, others: bool) -> None:
    """Compare with what is there after the pass, and remember what was found. others: whether a trace of another kind was seen already."""
    known = traces_of(model)
    with without_dispatch_modes():
        draws, drawn_elsewhere = _compared(before.generators, random_state(before.generators.devices))
        buffers = _buffers(model, copy=False)
        others |= drawn_elsewhere or _UNSEEN in before.others or before.others != list(_contents(model, copy=False)) or buffers.keys() != before.buffers.keys()
    written = {name for name, seen in buffers.items() if before.buffers.get(name) != seen}
    memory(model).measured[_key(model)] = Traces(known.looks + 1, known.draws or draws, known.buffers | written, others)


class Generators:
    """torch's generators, of the CPU and of the devices of some inputs, as they are now."""

    def __init__(self, inputs: ModelInputs) -> None:
        self._cpu = torch.default_generator.get_state()
        self._of_devices = {} if _is_on_cpu(inputs) else {z.device: generator_state(z.device) for _, z in inputs.tensors() if not z.is_cpu}

    def have_moved(self) -> bool:
        """Whether they are others now."""
        with without_dispatch_modes() if is_watched() else _NOTHING:  # states lie on the CPU: nothing is waited for
            return not torch.equal(self._cpu, torch.default_generator.get_state()) or (bool(self._of_devices) and self._have_moved_on_devices())

    def _have_moved_on_devices(self) -> bool:
        pairs = ((state, generator_state(device)) for device, state in self._of_devices.items())
        return any(a is not None and b is not None and not torch.equal(a, b) for a, b in pairs)

    def rewind(self) -> None:
        """Put them back."""
        torch.set_rng_state(self._cpu)
        for device, state in self._of_devices.items():
            set_generator_state(device, state)


_NOTHING = nullcontext()


def _is_on_cpu(inputs: ModelInputs) -> bool:
    """Whether a single tensor on the CPU is all that a model is given, as far as it can be told at once."""
    return inputs.bare and bool(inputs.args[0].is_cpu)


def _key(model: nn.Module) -> tuple[str, int]:
    return ("traces of a pass", hash((*module_forms(model), *(name for name, _ in model.named_modules()))))


def _compared(a: RandomState, b: RandomState) -> tuple[bool, bool]:
    """Whether torch's generators have moved, and whether others have, or some of which nothing is known."""
    devices = [(state, generator_state(device)) for device, state in a.of_devices.items()]
    unknown = any(before is None or now is None for before, now in devices)
    torchs = not torch.equal(a.torchs, b.torchs) or any(before is not None and now is not None and not torch.equal(before, now) for before, now in devices)
    numpys = a.numpys is not None and _numpys(a) != _numpys(b)  # None: the pass has loaded numpy
    return torchs, unknown or numpys or a.pythons != b.pythons


def _numpys(state: RandomState) -> Any:
    return state.numpys and (state.numpys[1].tobytes(), *state.numpys[2:])


class _Seen:
    """A tensor as it was seen: the same object, as often written, with the same numbers. Not every kernel that writes counts it: those of running statistics
    do not.
    """

    def __init__(self, tensor: Tensor, *, copy: bool, compare: bool = True) -> None:
        """compare: whether its numbers are looked at even where a device has to be waited for."""
        self._tensor, self._written = tensor, times_written(tensor)
        looked_at = tensor.layout is torch.strided and tensor.numel() < LARGE and (compare or is_at_hand(tensor))
        self._numbers = None if not looked_at else tensor.detach().clone() if copy else tensor.detach()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Seen) or self._tensor is not other._tensor or self._written != other._written:
            return False
        return self._numbers is None or other._numbers is None or torch.equal(self._numbers, other._numbers)

    __hash__ = None  # type: ignore[assignment]  # equality of tensors' numbers, which change


def _buffers(model: nn.Module, *, copy: bool) -> dict[tuple[str, str], _Seen]:
    found = {}
    for place, module in model.named_modules():
        for name, buffer in own_buffers(module).items():
            if buffer is not None:
                found[place, name] = _Seen(buffer, copy=copy, compare=buffer.numel() > SMALL)
    return found


def _contents(model: nn.Module, *, copy: bool) -> Iterator[Any]:
    """What else modules keep; `_UNSEEN` for what may change unseen. copy: whether to keep numbers that may be changed in place."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            yield id(parameter), times_written(parameter)
        for name, value in users_attributes(module).items():
            yield name
            yield from _content(value, copy=copy)


_UNSEEN = object()
"""Stands for what may change without being seen."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_BY_IDENTITY = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, nn.Module)


def _content(value: Any, depth: int = 3, *, copy: bool) -> Iterator[Any]:
    if isinstance(value, Tensor):
        yield _Seen(value, copy=copy)
    elif isinstance(value, _PLAIN):
        yield value
    elif isinstance(value, _BY_IDENTITY):
        yield id(value)
    elif depth and isinstance(value, (tuple, list, dict)) and len(value) <= MANY:
        yield tuple(value) if isinstance(value, dict) else len(value)
        for item in value.values() if isinstance(value, dict) else value:
            yield from _content(item, depth - 1, copy=copy)
    else:
        yield _UNSEEN
