"""What a model is made of, with a cheap test that it still is: so that what was found of it once need not be looked for at each step.

Must not know engines, terms, or what was found.
"""

import weakref

import torch
from torch import nn

from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.modules import running_facts


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
        self.is_torchs_own = self.is_python and all(_is_torchs_own(module) for module in modules)
        """Whether every module is one of ``torch.nn`` as it stands, without a hook: then the same operations run at each step."""

    def holds(self) -> bool:
        """Whether the model is still made so."""
        return self._facts is not None and self._look() == self._facts

    def _look(self) -> list[tuple[object, ...]] | None:
        facts = []
        for reference in self._modules:
            module = reference()
            if module is None:
                return None
            facts.append(running_facts(module))
        return facts


def _is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and "forward" not in vars(module) and not any(running_facts(module)[2:6])
