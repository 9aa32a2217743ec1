"""Putting our second derivatives in place: while the model runs forward, the operations that have one are exchanged for our own.

An operation of ours is a pair of ``torch.autograd.Function``: the operation, whose backward pass (under create_graph) applies the second, the
operation's derivative with respect to its input; and that one's backward pass is written by hand. What an operation's file does not cover
(an argument, a dtype, a weight that is no leaf) falls through to torch's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.overrides import TorchFunctionMode

Substitute = Callable[..., Any]
"""Called as the function that it stands for; returns NotImplemented where it does not cover the call."""

_ONLY_INPUT: ContextVar[bool] = ContextVar("inputgrad_only_input", default=False)


@contextmanager
def input_gradient_only() -> Iterator[None]:
    """Around a backward pass of which only the input gradient is wanted, which a Function written in Python cannot see by itself.

    Leaf weights then get no gradient (and cost none); autograd would have thrown it away.
    """
    token = _ONLY_INPUT.set(True)
    try:
        yield
    finally:
        _ONLY_INPUT.reset(token)


def only_input() -> bool:
    """Whether the running backward pass wants the input gradient alone."""
    return _ONLY_INPUT.get()


class SecondDerivatives(TorchFunctionMode):
    """While active, the functions that have a substitute run as it."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        substitute = substitutes().get(func)
        if substitute is not None:
            result = substitute(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))


def substitutes() -> dict[Any, Substitute]:
    """torch's function -> ours, from the files of this folder."""
    return _SUBSTITUTES


_SUBSTITUTES: dict[Any, Substitute] = {}
