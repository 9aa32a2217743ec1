"""What a model is made of, with a cheap test that it still is: so that what was found of it once need not be looked for at each step.

Must not know engines, terms, or what was found.
"""

import operator
import weakref
from typing import Any

import torch
from torch import nn

from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.modules import backward_hooks, forward_hooks, forward_pre_hooks, is_torchs, run_alike, running_facts


class ModelStructure:
    """The modules of a model, and what of each decides how it runs: its kind, its mode, its hooks, its parts, and which parameters learn.

    Holds the modules weakly. Values of parameters and buffers are no part of it.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._references = [weakref.ref(module) for module in modules]
        self.is_python = not any(isinstance(module, torch.jit.ScriptModule) or compiler.is_compiled(module) for module in modules)
        """Whether every module runs as Python: none is scripted or compiled, which may change unseen."""
        self._facts = list(map(running_facts, modules)) if self.is_python else None
        self.has_hooks = any(len(forward_hooks(module)) + len(forward_pre_hooks(module)) + backward_hooks(module) for module in modules)
        self.is_torchs_own = self.is_python and not self.has_hooks and all(map(_is_torchs_own, modules))
        """Whether every module is one of ``torch.nn`` as it stands, without a hook: then the same operations run at each step."""

    def holds(self) -> bool:
        """Whether the model is still made so."""
        return self._facts is not None and run_alike(self._facts)

    def modules(self) -> list[nn.Module] | None:
        """The modules; None where one of them is no more."""
        modules: list[Any] = list(map(operator.call, self._references))
        return None if None in modules else modules


def _is_torchs_own(module: nn.Module) -> bool:
    return is_torchs(module) and "forward" not in vars(module)
