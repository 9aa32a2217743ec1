"""What modes that follow torch's functions (`torch.overrides.TorchFunctionMode`) see of a model, and how something is kept from them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.torch_internals import pytree
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


def writes_to(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The tensors that a function of torch writes to, as its schema, its name, ``inplace=`` or ``out=`` tells; none where it makes new ones.

    Read in torch 2.6 to 2.15.
    """
    written: list[Any] = [kwargs.get("out")]
    schema = getattr(function, "_schema", None)  # of torch.ops.aten's overloads
    if schema is not None:
        given = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | kwargs
        written = [given.get(argument.name) for argument in schema.arguments if argument.is_write]
    elif args and (is_in_place(function, kwargs) or _name(function) == "__setitem__"):
        written.append(args[0])
    return tuple(leaf for leaf in pytree.leaves(written) if isinstance(leaf, Tensor))


def is_in_place(function: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function of torch writes its result into its first argument, by torch's own convention of names. Read in torch 2.6 to 2.15."""
    name = _name(function)
    return (name.endswith("_") and not name.endswith("__")) or name in _AUGMENTED or kwargs.get("inplace") is True


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", "")).partition(".")[0]


_AUGMENTED = {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul")}


@cache
def public_form(function: Any) -> Any:
    """The function of torch that ``torch.ops.aten.*``, as exported programs call it, is another form of; any other function itself.

    Read in torch 2.6 to 2.15. Missing: the function itself.
    """
    schema = str(function) if type(function).__name__ in ("OpOverload", "OpOverloadPacket") else ""
    namespace, _, rest = schema.partition(".")
    forms = [getattr(home, rest.split(".")[0], None) for home in homes_of_functions()] if namespace == "aten" else []
    return next((form for form in forms if form is not None), function)


def homes_of_functions() -> tuple[Any, ...]:
    """Where a mode's functions come from: modules and types that may hold several forms of one. Read in torch 2.6 to 2.15. Missing: without it."""
    private = getattr(torch._C, "_nn", None)
    return (torch, F, Tensor, *(() if private is None else (private,)))


@cache
def own_body(function: Any) -> Callable[..., Any] | None:
    """`body_for_modes` of a function of torch that is Python, None for any other; made once. Read in torch 2.6 to 2.15."""
    if not isinstance(function, FunctionType) or not function.__module__.startswith("torch."):
        return None
    return body_for_modes(function)


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
