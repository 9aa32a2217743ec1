"""What a model is made of, with a cheap test that it still is: so that what was found of it once need not be looked for at each step.

Must not know engines, terms, or what was found.
"""

import weakref
from collections.abc import Callable, MutableMapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.modules import backward_hooks, forward_hooks, forward_pre_hooks, own_buffers, own_parameters, running_facts


class ModelStructure:
    """The modules of a model, and what of each decides how it runs: its kind, its mode, its hooks, its parts, and which parameters learn.

    Holds the modules weakly. Values of parameters and buffers are no part of it.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._modules = [weakref.ref(module) for module in modules]
        self.is_python = not any(isinstance(module, torch.jit.ScriptModule) or compiler.is_compiled(module) for module in modules)
        """Whether every module runs as Python: none is scripted or compiled, which may change unseen."""
        self._facts = self._look() if self.is_python else None
        self._settings = [_settings(module) for module in modules] if self.is_python else []
        self._parameters = _Places(model if self.is_python else nn.Module(), own_parameters)
        self._buffers = _Places(model if self.is_python else nn.Module(), own_buffers)
        self.has_hooks = self.is_python and any(map(_hooks_of, modules))
        self.is_torchs_own = self.is_python and all(_is_torchs_own(module) for module in modules)
        """Whether every module is one of ``torch.nn`` as it stands, without a hook: then the same operations run at each step."""

    def holds(self) -> bool:
        """Whether the model is still made so."""
        return self._facts is not None and self._look() == self._facts

    def settings_hold(self) -> bool:
        """Whether no module was given another plain setting, or another tensor that is neither parameter nor buffer."""
        for reference, (size, settings) in zip(self._modules, self._settings, strict=True):
            module = reference()
            if module is None or len(own := vars(module)) != size or any(own.get(name) is not value for name, value in settings):
                return False
        return True

    def parameters(self) -> dict[str, Tensor]:
        """The parameters by name, as ``named_parameters`` gives them; for a structure that holds."""
        return self._parameters.tensors()

    def buffers(self) -> dict[str, Tensor]:
        """The buffers by name, likewise."""
        return self._buffers.tensors()

    def _look(self) -> list[object] | None:
        modules = [reference() for reference in self._modules]
        return None if None in modules else running_facts(modules)  # type: ignore[arg-type]  # none of them is None


def _hooks_of(module: nn.Module) -> int:
    return len(forward_hooks(module)) + len(forward_pre_hooks(module)) + backward_hooks(module)


class _Places:
    """Where a model's tensors of one kind are, found without a walk. Holds the dicts that the modules keep them in, which know nothing of the modules."""

    def __init__(self, model: nn.Module, kept: Callable[[nn.Module], MutableMapping[str, Any]]) -> None:
        named = model.named_modules(remove_duplicate=True)
        self._all = [(f"{prefix}.{name}" if prefix else name, own, name) for prefix, module in named for own in [kept(module)] for name in own]

    def tensors(self) -> dict[str, Tensor]:
        found: dict[int, tuple[str, Tensor]] = {}
        for path, own, name in self._all:
            tensor = own.get(name)
            if tensor is not None:
                found.setdefault(id(tensor), (path, tensor))
        return dict(found.values())


def _settings(module: nn.Module) -> tuple[int, list[tuple[str, Any]]]:
    """How many fields a module has, and those of its own that a trace takes in as they are."""
    own = [(name, value) for name, value in vars(module).items() if name not in _TORCHS_OWN]
    return len(vars(module)), [(name, value) for name, value in own if isinstance(value, (bool, int, float, str, Tensor, FunctionType))]


_TORCHS_OWN = frozenset(vars(nn.Module()))


def _is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and "forward" not in vars(module) and not _hooks_of(module)
