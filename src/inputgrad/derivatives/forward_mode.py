"""Forward-mode derivatives that can be differentiated in reverse: while ``torch.func.jvp`` runs, functions whose own torch gets wrong run as ours.

torch's forward-mode formulas often use what the operation has saved (a mean, a factorisation, a mask of zeros). Differentiated in reverse, these count as
constants: values are right, parameter gradients are silently wrong. Two ways out of it:

- written out in primitive operations, whose formulas are right (`dropout`, `normalisation`, and every substitute that can be differentiated to any order);
- made from the function's own backward passes (`by_backward`): any function that has a second derivative in reverse.

Which functions are wrong is measured, not listed: `passes.forward_mode_check` tries each function of a model once and calls `replace_from_now_on`. Listed are
those that are wrong at some inputs only (a product with a factor of zero), which a trial may miss; and ``mse_loss``, whose forward-mode derivative ends the
process when it is differentiated under a `TorchDispatchMode` of the user's (the only one of torch's 677 tested operations that does, in torch 2.13).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from inputgrad.derivatives import dropout, normalisation
from inputgrad.derivatives.by_backward import by_backward
from inputgrad.derivatives.substitution import OF_ANY_ORDER, BackwardTarget
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import homes_of_functions
from inputgrad.torch_internals.functorch import is_transformed


class ForwardModeDerivatives(TorchFunctionMode):
    """While active, functions without a forward-mode derivative that is right in reverse run with one."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        written_out = WRITTEN_OUT.get(func)
        if written_out is not None:
            return written_out(*args, **kwargs)
        substitute = OF_ANY_ORDER.get(func)
        if substitute is not None and (result := substitute(BackwardTarget(), *args, **kwargs)) is not NotImplemented:
            return result
        if func in _BY_BACKWARD and any(isinstance(leaf, Tensor) and is_transformed(leaf) for leaf in pytree.leaves((args, kwargs))):
            return by_backward(func, args, kwargs)
        return func(*args, **kwargs)


WRITTEN_OUT: dict[Any, Callable[..., Tensor]] = {**dropout.WRITTEN_OUT, **normalisation.WRITTEN_OUT}


def replace_from_now_on(function: Any) -> None:
    """Make this function's forward-mode derivative from its backward passes, in every model of this process."""
    _BY_BACKWARD.add(function)


def is_replaced(function: Any) -> bool:
    """Whether the function runs with a derivative of ours."""
    return function in WRITTEN_OUT or function in _BY_BACKWARD


def _every_form(names: str) -> set[Any]:
    """The named functions as functions, methods, methods in place and operators of ``torch.ops.aten``."""
    forms = [form for name in names.split() for form in (name, f"{name}_")]
    functions = {getattr(home, form) for form in forms for home in homes_of_functions() if hasattr(home, form)}
    packets = [getattr(torch.ops.aten, form) for form in forms if hasattr(torch.ops.aten, form)]
    return functions | set(packets) | {getattr(packet, name) for packet in packets for name in packet.overloads()}


_BY_BACKWARD: set[Any] = _every_form("prod cumprod scatter_reduce index_reduce mse_loss")
"""What is true of a function of torch is true in every model; so this set belongs to the process."""
