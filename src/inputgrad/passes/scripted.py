"""Scripted and traced parts of a model (TorchScript) inside ``torch.func.jvp``.

Called there as they are, they go wrong in three ways: modes do not see what they do, an optimised script loses its tangents, and one that first runs inside
a transform is optimised for inputs without gradients, in the whole process and for good. So each call runs outside of the transform, with a tangent made
from its backward passes (`derivatives.by_backward`): what a script does then is what it does in plain training.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from inputgrad.derivatives.by_backward import by_backward
from inputgrad.devices import devices_of
from inputgrad.errors import EngineError
from inputgrad.passes.random_state import RandomState, random_state
from inputgrad.passes.replay import Buffers, copied_buffers, replayed
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.modules import scripted_module_of
from inputgrad.torch_internals.scripts import scripted_calls


def scripts_by_backward(model: nn.Module) -> AbstractContextManager[None]:
    """Around ``torch.func.jvp``: calls of the model into TorchScript are differentiated by backward passes."""

    def through(script: Any, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = _owner(script, model)
        captured = [] if module is None else [parameter for parameter in module.parameters() if parameter.requires_grad]
        return by_backward(_SameRun(call, module), args, kwargs, captured)

    return scripted_calls(through)


def _owner(script: Any, model: nn.Module) -> nn.Module | None:
    """The scripted module whose method it is; None for a function. Raises `EngineError` for a module whose parameters are not the model's."""
    if isinstance(script, torch.jit.ScriptFunction):
        return None
    module = scripted_module_of(script, model)
    if module is None:
        raise EngineError(
            f"engine 'reverse_over_forward': the model calls the scripted method {script.name!r} of a module that it does not hold as a submodule, so its "
            "parameters are not known. Assign that module to an attribute of the model, or use engine='double_backward'"
        )
    return module


class _SameRun:
    """A script that draws in every run what it drew in the first, and starts from the same buffers; only the first run leaves a trace."""

    def __init__(self, call: Callable[..., Any], module: nn.Module | None) -> None:
        self._call = call
        self._module = module
        self._state: tuple[RandomState, Buffers] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._state is None:
            self._state = random_state(devices_of(self._module, pytree.leaves((args, kwargs)))), copied_buffers(self._module)
            return self._call(*args, **kwargs)
        with replayed(self._module, *self._state):
            return self._call(*args, **kwargs)
