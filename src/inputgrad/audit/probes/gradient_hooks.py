"""Follows the gradients that hooks are given: those of a tensor (`Tensor.register_hook`), and that there are ones that leave no trace. Knows the recorder."""

import functools
import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import without_torch_function


def patches(recorder: Recorder) -> list[Patch]:
    """Hooks of modules in the older form, which torch hangs on a node of the graph: unlike full ones they are not seen there."""

    def registering(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def register(*args: Any, **kwargs: Any) -> Any:
            if recorder.watching:
                recorder.event("hook")
            return original(*args, **kwargs)

        return register

    return [Patch(nn.Module, "register_backward_hook", registering)]


def followed(
    recorder: Recorder, tensor: Tensor, hook: Callable[[Tensor], Any], on_gradient: Callable[[GradientCall, Tensor | None, Tensor], None]
) -> Callable[[Tensor], Any]:
    """The hook with a recorder in front of it: each gradient but that of a weight is recorded, then the hook runs as before.

    Holds the tensor weakly: features in the midst of a network are often gone by the time that their gradient comes, and a weight never is.
    """
    owner = weakref.ref(tensor)

    @functools.wraps(hook)
    def caught(gradient: Tensor) -> Any:
        variable = owner()
        if recorder.active and recorder.ownership.inside and (variable is None or not recorder.ownership.is_weight(variable)):
            with without_torch_function():
                on_gradient(recorder.facts.calls[-1], variable, gradient)
        return hook(gradient)

    return caught
