"""Checkpointed regions (``torch.utils.checkpoint``, not reentrant): run again in the backward pass, they must save what they saved in the first run.

So a mode under which a region ran has to be active when it runs again. torch offers no place for that, so the region's own record of how to run again is
wrapped. Must not know what the mode does.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch


def recomputed_in(mode: Callable[[], AbstractContextManager[Any]]) -> bool:
    """Outside such a region, or within one that from now on will run again under ``mode``: True. Within one that cannot be made to: False.

    A region runs again under each mode that it was given, the first of those that the same function makes.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    if hooks is None or "_checkpoint_hook" not in getattr(hooks[0], "__qualname__", ""):
        return True
    frame = _closed_over(hooks[0]).get("frame")
    if frame is None or not hasattr(frame, "recompute_fn"):
        return False
    if not isinstance(frame.recompute_fn, _Under):
        frame.recompute_fn = _Under(frame.recompute_fn)
    frame.recompute_fn.modes.setdefault(getattr(mode, "__qualname__", repr(mode)), mode)
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


def _closed_over(function: Any) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return {name: cell.cell_contents for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True)}
