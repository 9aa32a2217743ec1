"""Calls from Python into TorchScript (``torch.jit.script``, ``torch.jit.trace``), which modes that follow torch's functions do not see."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from inputgrad.torch_internals.required import Required

Through = Callable[[Any, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""(function or method, how to call it, arguments) -> what the call gives."""


@contextmanager
def scripted_calls(through: Through) -> Iterator[None]:
    """Around a run in which every call into TorchScript goes through ``through``, but those that it makes itself; of this thread alone.

    Read in torch 2.6 to 2.15: both kinds of callables are classes whose ``__call__`` may be exchanged. Missing: `MissingInternalError`.
    """
    with _intercepted():
        waiting = _THREAD.__dict__.setdefault("through", [])
        waiting.append(through)
        try:
            yield
        finally:
            waiting.pop()


@contextmanager
def _intercepted() -> Iterator[None]:
    with _LOCK:
        if not _INSIDE:
            for kind in _kinds():
                _EXCHANGED.callback(setattr, kind, "__call__", kind.__call__)
                kind.__call__ = _calling(kind.__call__)
        _INSIDE.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.pop()
            if not _INSIDE:
                _EXCHANGED.close()


def _calling(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        waiting = getattr(_THREAD, "through", None)
        if not waiting:
            return original(self, *args, **kwargs)
        through = waiting.pop()  # what it calls itself goes on to the one outside of it
        try:
            return through(self, lambda *a, **k: original(self, *a, **k), args, kwargs)
        finally:
            waiting.append(through)

    return call


def _kinds() -> tuple[Any, ...]:
    with Required("torch._C.ScriptFunction and torch._C.ScriptMethod", "telling whether a model calls TorchScript"):
        return torch._C.ScriptFunction, torch._C.ScriptMethod


_LOCK = threading.Lock()
_THREAD = threading.local()
_INSIDE: list[None] = []
"""One entry a run that is under way, in any thread: the classes are exchanged while there is one."""
_EXCHANGED = ExitStack()
