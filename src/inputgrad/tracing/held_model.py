"""A module as a program reads it: its parameters and buffers without a walk, and a test that all that a trace takes in is as it was."""

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from itertools import chain, compress
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from inputgrad.passes.structure import ModelStructure
from inputgrad.torch_internals.modules import own_buffers, own_parameters
from inputgrad.tracing.guards import TORCHS_OWN, held_settings, settings


class HeldModel:
    """A module that runs as Python and has no hooks. Holds its modules weakly."""

    def __init__(self, module: nn.Module, structure: ModelStructure) -> None:
        self._structure = structure
        self._settings = _Settings(list(module.modules()))
        self._parameters, self._buffers = _places(module, own_parameters), _places(module, own_buffers)

    @classmethod
    def of(cls, module: nn.Module) -> "HeldModel | None":
        """None for a module with parts that are scripted or compiled, or with hooks, which may be exchanged one for another."""
        structure = ModelStructure(module)
        return cls(module, structure) if structure.is_python and not structure.has_hooks else None

    def holds(self) -> bool:
        """Whether the modules, their modes and their plain settings are as they were, and the tensors the same that are neither parameter nor buffer."""
        return self._structure.holds() and self._settings.hold(self._structure.modules() or ())

    def parameters(self) -> dict[str, Tensor]:
        """The parameters by name, as ``named_parameters`` gives them; for a module that holds."""
        return _tensors(self._parameters)

    def buffers(self) -> dict[str, Tensor]:
        """The buffers by name, likewise."""
        return _tensors(self._buffers)


Places = list[tuple[str, MutableMapping[str, Any], str]]
"""For each tensor its path, the dict that its module keeps it in, and its name there. The dicts know nothing of the modules."""


def _places(module: nn.Module, kept: Callable[[nn.Module], MutableMapping[str, Any]]) -> Places:
    return [(f"{path}.{name}" if path else name, own, name) for path, part in module.named_modules() for own in [kept(part)] for name in own]


def _tensors(places: Places) -> dict[str, Tensor]:
    """Each tensor once, under its first path."""
    named = {path: tensor for path, own, name in places if (tensor := own.get(name)) is not None}
    if len(set(map(id, named.values()))) == len(named):
        return named
    once: dict[int, tuple[str, Tensor]] = {}
    for path, tensor in named.items():
        once.setdefault(id(tensor), (path, tensor))
    return dict(once.values())


class _Settings:
    """The `settings` of modules, with a test at each step that mostly needs no loop in Python."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._all = list(map(settings, modules))
        self._names, held = _names_and_values(modules)
        self._kinds = list(map(type, held))
        self._is_plain = [isinstance(value, (bool, int, float, str)) for value in held]
        self._plain = list(compress(held, self._is_plain))
        self._holds_more = [name not in TORCHS_OWN and not plain for name, plain in zip(self._names, self._is_plain, strict=True)]
        self._more = self._held(held)
        self._is_loose = any(isinstance(value, (Tensor, FunctionType)) for value in held)

    def hold(self, modules: Sequence[nn.Module]) -> bool:
        """Whether they are as they were."""
        names, held = _names_and_values(modules)
        is_alike = not self._is_loose and names == self._names and list(map(type, held)) == self._kinds
        is_alike = is_alike and list(compress(held, self._is_plain)) == self._plain and self._held(held) == self._more
        return is_alike or list(map(settings, modules)) == self._all

    def _held(self, held: Sequence[Any]) -> list[Hashable]:
        """What is no number or text holds of such, each once: the modules of a model often share a configuration."""
        return list(map(held_settings, {id(value): value for value in compress(held, self._holds_more)}.values()))


def _names_and_values(modules: Sequence[nn.Module]) -> tuple[list[str], list[Any]]:
    own = list(map(vars, modules))
    return list(chain.from_iterable(own)), list(chain.from_iterable(map(dict.values, own)))
