"""Checkpointed regions (``torch.utils.checkpoint``): run again in the backward pass. Those that are not re-entrant must save what they saved at first.

So a mode under which a region ran has to be active when it runs again. torch offers no place for that, so the region's own record of how to run again is
wrapped. Must not know what the mode does.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import FrameType
from typing import Any

import torch

_UNKNOWN = object()
"""The record of a region in a form that is not known here."""


def in_checkpoint() -> bool:
    """Whether this is the first run of such a region. Read in torch 2.6 to 2.15. Missing (before 2.8): read from the call stack."""
    return _region() is not None


def in_reentrant_checkpoint() -> bool:
    """Whether this is the first run of a region that is checkpointed in the re-entrant way.

    That is the forward of a ``CheckpointFunction``, torch's own or another package's, and is read from the call stack.
    Read in torch 2.6 to 2.15. Missing (a Function of another name): False.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_qualname.endswith("CheckpointFunction.forward"):
            return True
        frame = frame.f_back
    return False


def recomputed_in(mode: Callable[[], AbstractContextManager[Any]]) -> bool:
    """Outside such a region, or within one that from now on will run again under ``mode``: True. Within one that cannot be made to: False.

    A region runs again under each mode that it was given, the first of those that the same function makes. Read in torch 2.6 to 2.15. Missing: False.
    """
    region = _region()
    if region is None:
        return True
    if not hasattr(region, "recompute_fn"):
        return False
    if not isinstance(region.recompute_fn, _Under):
        region.recompute_fn = _Under(region.recompute_fn)
    region.recompute_fn.modes.setdefault(getattr(mode, "__qualname__", repr(mode)), mode)
    return True


class _Under:
    def __init__(self, run: Callable[..., Any]) -> None:
        self.modes: dict[str, Callable[[], AbstractContextManager[Any]]] = {}
        self._run = run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for mode in self.modes.values():
                stack.enter_context(mode())
            return self._run(*args, **kwargs)


def _region() -> Any:
    """The record of the region that runs for the first time; None where none does."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    if top is None:
        return _region_on_the_stack()
    hooks = top(False)
    if hooks is None or "_checkpoint_hook" not in getattr(hooks[0], "__qualname__", ""):
        return None
    return _closed_over(hooks[0]).get("frame", _UNKNOWN)


def _region_on_the_stack() -> Any:
    """The same before torch 2.8, which has no question for the hooks: by the call of ``checkpoint`` that is on its way."""
    source = getattr(sys.modules.get("torch.utils.checkpoint"), "__file__", None)
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and source is not None:
        if frame.f_code.co_filename == source:
            if frame.f_code.co_name == "unpack_hook":  # a region that runs again
                return None
            running = getattr(frame.f_locals.get("gen"), "gi_frame", None)
            if running is not None:
                return running.f_locals.get("new_frame", _UNKNOWN)
        frame = frame.f_back
    return None


def _closed_over(function: Any) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return {name: cell.cell_contents for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True)}
