"""A module as a program reads it: its parameters and buffers without a walk, and a test that all that a trace takes in is as it was."""

from collections.abc import Callable, MutableMapping
from typing import Any

from torch import Tensor, nn

from inputgrad.passes.structure import ModelStructure
from inputgrad.torch_internals.modules import own_buffers, own_parameters
from inputgrad.tracing.guards import settings


class HeldModel:
    """A module that runs as Python and has no hooks. Holds its modules weakly."""

    def __init__(self, module: nn.Module, structure: ModelStructure) -> None:
        self._structure = structure
        self._settings = [settings(part) for part in module.modules()]
        self._parameters, self._buffers = _places(module, own_parameters), _places(module, own_buffers)

    @classmethod
    def of(cls, module: nn.Module) -> "HeldModel | None":
        """None for a module with parts that are scripted or compiled, or with hooks, which may be exchanged one for another."""
        structure = ModelStructure(module)
        return cls(module, structure) if structure.is_python and not structure.has_hooks else None

    def holds(self) -> bool:
        """Whether the modules, their modes and their plain settings are as they were, and the tensors the same that are neither parameter nor buffer."""
        return self._structure.holds() and [settings(part) for part in self._structure.modules() or ()] == self._settings

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
    found: dict[int, tuple[str, Tensor]] = {}
    for path, own, name in places:
        tensor = own.get(name)
        if tensor is not None:
            found.setdefault(id(tensor), (path, tensor))
    return dict(found.values())
