"""Watches a run: what torch is asked for is followed while the user's own code runs unmodified, and nothing of torch stays changed afterwards.

Three ways in: a function mode (each function of torch that Python calls), functions that are replaced (`patches`; `torch.autograd.backward` is the one through
which every backward pass goes), and the hooks of optimisers. What is asked of torch is always done as it was asked. It knows the probes; they know the recorder
alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from inputgrad.audit import torch_internals
from inputgrad.audit.call_sites import inside_library
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.probes import counterfactual, criterion_probe, ddp_probe, gradient_hooks, layer_probe, mode_probe, scaler_probe, zero_grad_probe
from inputgrad.audit.probes.gradient_probe import GradientProbe
from inputgrad.audit.probes.patches import Patch, installed
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.probes.step_probe import StepProbe
from inputgrad.audit.probes.torch_func_probe import TorchFuncProbe

_CATCHING = ("register_hook", "register_post_accumulate_grad_hook", "retain_grad")
"""Ways to a gradient beside ``.grad`` of a leaf."""


_PATIENCE = 2
"""How often a script may swallow its end."""


class StopWatching(BaseException):
    """Raised after the last watched step, to end a script cleanly; no ``except Exception`` stops it."""


class RunWatcher(TorchFunctionMode):
    """Follows one run. ``steps``: how many optimiser steps are watched; then everything is let go, or with ``stop`` the run ends."""

    def __init__(self, steps: int = 3, *, stop: bool = False, leave: Callable[[], None] | None = None) -> None:
        """leave: ends the process; called where the script swallows what is to end it, and goes on."""
        super().__init__()
        self._limit, self._stop, self._leave = steps, stop, leave
        self._recorder = Recorder()
        self._gradients = GradientProbe(self._recorder)
        self._steps = StepProbe(self._recorder, self._after_step)
        self._main, self._swallowed = threading.get_ident(), 0
        self._torch_func = TorchFuncProbe(self._recorder, self._gradients.transformed)
        self._undo = contextlib.ExitStack()
        self._mode_off = False
        self._recorder.pause = self._pause

    @property
    def facts(self) -> Facts:
        """What the run has shown so far."""
        return self._recorder.facts

    # begin and end

    def patches(self) -> list[Patch]:
        """All functions of torch that are replaced while the run is watched."""
        parts = (zero_grad_probe, scaler_probe, mode_probe, ddp_probe, gradient_hooks)
        return [*self._gradients.patches(), *(patch for part in parts for patch in part.patches(self._recorder)), *self._torch_func.patches()]

    def __enter__(self) -> RunWatcher:
        with contextlib.ExitStack() as undo:
            for register, hook in ((register_optimizer_step_pre_hook, self._before_step), (register_optimizer_step_post_hook, self._steps.after)):
                undo.callback(register(hook).remove)
            undo.enter_context(installed(self.patches()))
            undo.enter_context(criterion_probe.watched(self._recorder))
            super().__enter__()
            self._undo = undo.pop_all()
        self._recorder.active = True
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        counterfactual.give_up()
        self._recorder.active = False
        try:
            self._undo.close()
        finally:
            if not self._mode_off:
                super().__exit__(kind, error, traceback)
        if error is not None and not isinstance(error, StopWatching):
            self.facts.failure = error

    def _after_step(self) -> None:
        """What comes after the last watched step costs nothing; the hooks, which are at work, are taken away at the end."""
        self._gradients.forget_graphs()
        if self._recorder.step < self._limit:
            return
        self._recorder.active = False
        if torch_internals.is_innermost_mode(self):
            super().__exit__(None, None, None)
            self._mode_off = True
        self.facts.ended_early = self._stop
        if self._stop:
            raise StopWatching

    def _pause(self, paused: bool) -> None:
        """Leave the stack of function modes, or come back to it; where another mode lies on top, stay."""
        if paused and not self._mode_off and torch_internals.is_innermost_mode(self):
            super().__exit__(None, None, None)
            self._mode_off = True
        elif not paused and self._mode_off and self._recorder.active:
            super().__enter__()
            self._mode_off = False

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """A hook of every optimiser. A script that steps on after its end has swallowed it (a bare ``except``): it is ended again, and then for good."""
        if self.facts.ended_early and threading.get_ident() == self._main:
            self._swallowed += 1
            if self._leave is not None and self._swallowed > _PATIENCE:
                self._leave()
            raise StopWatching
        return self._steps.before(optimizer, args, kwargs)

    # functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, recorder = kwargs or {}, self._recorder
        if not recorder.watching or recorder.stepping or recorder.ownership.inside or torch_internals.inside_transform():
            return func(*args, **kwargs)
        if func is torch.autograd.grad:
            return func(*args, **kwargs) if inside_library() else self._gradients.grad(func, args, kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._read(func, args)
        if name == "__set__":
            return self._written(func, args)
        if name == "register_hook" and len(args) == 2 and not inside_library():
            args = (args[0], self._gradients.catching(*args))
        recorder.data_writes.changing(name, args)
        result = self._call(func, name, args, kwargs)
        recorder.interpolation.follow(name, args, result)
        layer_probe.follow(recorder, name, args, kwargs, result)
        if name in _CATCHING:
            recorder.event("hook")
        if name in ("requires_grad_", "backward", *_CATCHING):
            return result
        return recorder.provenance.follow(name, args, kwargs, result)

    def _call(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """The function itself; where it is asked what a gradient's graph would change, nothing on the way ends that graph."""
        call = counterfactual.changed()
        if call is None or not any(self._recorder.provenance.comes_from(value, call) for value in args):
            return func(*args, **kwargs)
        if name == "detach":
            return args[0]
        with torch.enable_grad():
            return func(*args, **kwargs)

    def _read(self, func: Any, args: Any) -> Any:
        """An attribute of a tensor was read."""
        recorder, result = self._recorder, func(*args)
        call = counterfactual.changed()
        if call is not None and torch_internals.reads(func, "data") and recorder.provenance.comes_from(args[0], call):
            return args[0]
        if torch_internals.reads(func, "grad"):
            self._gradients.read(args[0], result)
        elif torch_internals.reads(func, "data") and isinstance(result, Tensor):
            recorder.data_writes.read(args[0], result)
            recorder.interpolation.follow("data", args, result)
            return recorder.provenance.follow("data", args, {}, result)
        elif isinstance(result, Tensor):
            return recorder.provenance.follow("view", args, {}, result)
        return result

    def _written(self, func: Any, args: Any) -> Any:
        """An attribute of a tensor was set."""
        recorder = self._recorder
        if torch_internals.writes(func, "grad") and (len(args) < 2 or args[1] is None):
            recorder.ownership.emptied(args[0])
        elif torch_internals.writes(func, "data"):
            recorder.data_writes.write(args[0])
        return func(*args)
