"""What modes that follow torch's functions (`torch.overrides.TorchFunctionMode`) see of a model, and how something is kept from them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.torch_internals.required import Required

_HANDING_OVER = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def unseen_by_modes() -> AbstractContextManager[Any]:
    """Around operations of the library's own, which no mode sees. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _DISABLED:
        return torch._C.DisableTorchFunction()


def switches_gradients(function: Any) -> bool:
    """Whether a mode was handed the call behind ``torch.no_grad()`` and its like. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _SWITCH:
        return function is torch._C._set_grad_enabled


def homes_of_functions() -> tuple[Any, ...]:
    """Where a mode's functions come from: modules and types that may hold several forms of one. Read in torch 2.6 to 2.15. Missing: without it."""
    private = getattr(torch._C, "_nn", None)
    return (torch, F, Tensor, *(() if private is None else (private,)))


def body_for_modes(function: Any) -> Callable[..., Any]:
    """A function of torch that is Python, so changed that a mode sees the functions it calls and not itself.

    Such a function hands itself over to a mode, which is not active while it answers. This is a copy that does not hand itself over.
    Read in torch 2.6 to 2.15. Missing: a copy that does as the function does.
    """
    body = FunctionType(
        function.__code__, {**function.__globals__, **dict.fromkeys(_HANDING_OVER, _never)}, function.__name__, function.__defaults__, function.__closure__
    )
    body.__kwdefaults__ = function.__kwdefaults__
    return body


def _never(*_: Any) -> bool:
    return False


_DISABLED = Required("torch._C.DisableTorchFunction", "a variable inside the model (wrt= of a module's output, or tensor parallelism)")
_SWITCH = Required("torch._C._set_grad_enabled", "following torch.no_grad() inside a model", "Use engine='double_backward', which does not have to follow it")
