"""Watching a run: what torch is asked for is followed while the user's own code runs unmodified, and nothing of torch stays changed afterwards.

Three ways in: a function mode (each function of torch that Python calls), `torch.autograd.backward` (through which every backward pass goes), and the hooks of
optimisers. What is asked of torch is always done as it was asked.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from inputgrad.audit import hooks, transforms, whatif, wrappers
from inputgrad.audit.draws import Draws
from inputgrad.audit.facts import Event, Facts, GradientCall, Pass
from inputgrad.audit.gradients import Gradients
from inputgrad.audit.ledger import Contributions
from inputgrad.audit.lineage import Lineage
from inputgrad.audit.overwritten import Overwritten
from inputgrad.audit.sites import Site, here, ours
from inputgrad.audit.steps import Steps

_NORMALISING = {"batch_norm"}
_DROPPING = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
_GRAD: Any = Tensor.grad
_DATA: Any = Tensor.data


class Enough(BaseException):
    """Raised after the last watched step, to end a script cleanly; no ``except Exception`` stops it."""


class Watch(TorchFunctionMode):
    """Follows one run. ``steps``: how many optimiser steps are watched; then everything is let go, or with ``stop`` the run ends."""

    def __init__(self, steps: int = 3, *, stop: bool = False) -> None:
        super().__init__()
        self.facts = Facts()
        self.lineage = Lineage()
        self.contributions = Contributions()
        self.draws, self.overwritten = Draws(), Overwritten()
        self._limit, self._stop = steps, stop
        self.gradients, self.steps = Gradients(self), Steps(self)
        self._undo = contextlib.ExitStack()
        self.watching = False
        self._off = False
        self.scale = 1.0

    # begin and end

    def __enter__(self) -> Watch:
        super().__enter__()
        original = torch.autograd.backward
        torch.autograd.backward = self.gradients.patched(original)
        self._undo.callback(setattr, torch.autograd, "backward", original)
        for register, hook in ((register_optimizer_step_pre_hook, self.steps.before), (register_optimizer_step_post_hook, self.steps.after)):
            self._undo.callback(register(hook).remove)  # type: ignore[arg-type]  # torch names no hook that changes the arguments
        self._undo.enter_context(self.contributions.clearing(self._cleared))
        self._undo.enter_context(hooks.listening(self))
        self._undo.enter_context(wrappers.listening(self))
        self._undo.enter_context(transforms.listening(self))
        self.watching = True
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        whatif.give_up(self)
        self.watching = False
        self._undo.close()
        if not self._off:
            super().__exit__(kind, error, traceback)
        if error is not None and not isinstance(error, Enough):
            self.facts.failure = error

    @property
    def step(self) -> int:
        return self.steps.number

    # functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.watching or self.steps.stepping or _transforming():
            return func(*args, **kwargs)
        if func is torch.autograd.grad:
            return func(*args, **kwargs) if ours() else self.gradients.taken(func, args, kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._read(func, args)
        if name == "__set__":
            return self._written(func, args)
        self.overwritten.changing(name, args)
        result = func(*args, **kwargs)
        self.draws.follow(name, args, result)
        if name in _NORMALISING or name in _DROPPING:
            self._layer(name, args, kwargs, result)
        elif name in ("cross_entropy", "nll_loss") and args and isinstance(args[0], Tensor) and args[0].dim() == 2 and args[0].grad_fn is not None:
            self.event("cross entropy", classes=args[0].shape[1], by=args[0].grad_fn.name())
        if name == "register_hook":
            self.event("hook")
        if name in ("requires_grad_", "backward", "register_hook"):
            return result
        return self.lineage.follow(name, args, kwargs, result)

    def _read(self, func: Any, args: Any) -> Any:
        result = func(*args)
        if func == _GRAD.__get__:
            self.gradients.read(args[0], result)
        elif func == _DATA.__get__ and isinstance(result, Tensor):
            self.overwritten.read(args[0], result)
            self.draws.follow("data", args, result)
            return self.lineage.follow("data", args, {}, result)
        elif isinstance(result, Tensor):
            return self.lineage.follow("view", args, {}, result)
        return result

    def _written(self, func: Any, args: Any) -> Any:
        if func == _GRAD.__set__ and (len(args) < 2 or args[1] is None):
            self.contributions.emptied(args[0])
        elif func == _DATA.__set__:
            self.overwritten.write(args[0])
            self.event("data written", shape=tuple(args[0].shape), requires_grad=args[0].requires_grad, parameter=isinstance(args[0], nn.Parameter))
        return func(*args)

    def _layer(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        kind = "batch_norm" if name in _NORMALISING else "dropout"
        position = 5 if kind == "batch_norm" else 2
        training = bool(kwargs.get("training", args[position] if len(args) > position else kind == "dropout"))
        mean = args[1] if kind == "batch_norm" and len(args) > 1 else kwargs.get("running_mean")
        state = id(mean) if mean is not None else 0
        draws = kind == "dropout" and training
        self.facts.passes.append(
            Pass(
                kind,  # type: ignore[arg-type]  # one of the two kinds, by its callers
                training,
                self.step,
                here(),
                state,
                len(self.facts.calls),
                result.requires_grad,
                hooks.layer(),
                hooks.told_apart(args[0] if args else kwargs["input"]) if draws else (),
                hooks.drawn(result) if draws else 0,
            )
        )

    def event(self, name: str, **detail: Any) -> None:
        """Note something that one rule or another wants to know of."""
        self.facts.events.append(Event(name, here(), self.step, detail))

    # the run

    def _cleared(self, calls: list[GradientCall], site: Site) -> None:
        for call in calls:
            if not call.stepped:
                call.discarded, call.discarded_by = True, site

    def after_step(self) -> None:
        """What comes after the last watched step costs nothing; the hooks, which are at work, are taken away at the end."""
        if self.step < self._limit:
            return
        self.watching = False
        if _get_current_function_mode() is self:
            super().__exit__(None, None, None)
            self._off = True
        self.facts.ended_early = self._stop
        if self._stop:
            raise Enough


def _transforming() -> bool:
    """Whether a transform of torch.func is at work: its tensors hold no values that could be looked at."""
    return torch._C._functorch.maybe_current_level() is not None
