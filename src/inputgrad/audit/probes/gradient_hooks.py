"""Follows the gradients that a tensor's own hooks are given (`Tensor.register_hook`). Knows the recorder alone."""

import functools
import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor

from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import without_torch_function


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
