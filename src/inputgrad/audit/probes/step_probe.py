"""Watches the steps that optimisers make: what each goes along, and where the user's own code goes on. Knows no other probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from inputgrad.audit.call_sites import here
from inputgrad.audit.observations.run_facts import OptimizerStep
from inputgrad.audit.probes import adaptive_updates, counterfactual, optimizer_closures
from inputgrad.audit.probes.gradient_ownership import gradient_norm
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import without_torch_function

_ADAPTIVE = ("RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam")
"""The names of adaptive optimisers, beside those with Adam in it."""


@dataclass
class _Watched:
    """What is known of one optimiser. number: of its kind of name; steps: how many it has made, each evaluation of a closure one."""

    number: int
    steps: int = 0
    evaluated: bool = False
    """Whether its closure was called in the step that it is at."""


class StepProbe:
    """Follows the steps of one run. after_each: called when an optimiser of parameters has stepped."""

    def __init__(self, recorder: Recorder, after_each: Callable[[], None]) -> None:
        self._recorder, self._after_each = recorder, after_each
        self._optimizers: WeakKeyDictionary[torch.optim.Optimizer, _Watched] = WeakKeyDictionary()
        self._seen = 0

    def before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> optimizer_closures.Arguments | None:
        """A hook of every optimiser; its closure, where there is one, is exchanged for one that is followed."""
        if not self._recorder.watching:
            return None
        if optimizer not in self._optimizers:
            self._optimizers[optimizer] = _Watched(self._seen)
            self._seen += 1
        self._optimizers[optimizer].evaluated = False
        given = optimizer_closures.around(args, kwargs, self._resume, lambda: self._evaluated(optimizer))
        if given is None:
            self._at_step(optimizer, closure=False)
        self._leave()
        return given

    def after(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        """The other hook."""
        if not self._recorder.watching:
            return
        self._resume()
        if not self._optimizers[optimizer].evaluated:
            self._count(optimizer)

    def _resume(self) -> None:
        """The user's own code is at work again."""
        self._recorder.resume()

    def _leave(self) -> None:
        """The optimiser is at work."""
        self._recorder.stepping = True
        self._recorder.pause(True)

    def _evaluated(self, optimizer: torch.optim.Optimizer) -> None:
        """A closure was called: one more evaluation, and one more step; L-BFGS makes thousands of them within one call of `step`."""
        if self._recorder.watching:
            self._optimizers[optimizer].evaluated = True
            self._at_step(optimizer, closure=True)
            self._count(optimizer)

    def _count(self, optimizer: torch.optim.Optimizer) -> None:
        """One step more. Those of an inner optimiser, which moves inputs, are no steps of the training."""
        self._recorder.ownership.stepped(optimizer)
        known = self._optimizers[optimizer]
        known.steps += 1
        if not self._recorder.ownership.moves_inputs(optimizer):
            self._recorder.step = max(self._recorder.step, known.steps)
            self._after_each()

    def _at_step(self, optimizer: torch.optim.Optimizer, *, closure: bool) -> None:
        """What the step goes along."""
        counterfactual.give_up()
        facts, ownership = self._recorder.facts, self._recorder.ownership
        with without_torch_function():
            shares, stale = ownership.shares(optimizer)
            norm = gradient_norm(optimizer)
            alone = _is_adaptive(optimizer) and bool(shares) and all(call.graph.live_terms and call.graph.alone for call in shares)
            tenfold = adaptive_updates.tenfold(optimizer) if alone else None
        known, inputs = self._optimizers[optimizer], ownership.moves_inputs(optimizer)
        name = f"{type(optimizer).__name__} {known.number}"
        facts.steps.append(OptimizerStep(name, known.steps, here(), shares, norm, stale, closure, len(facts.calls), tenfold, inputs))
        for call in shares:
            call.fate.stepped = True
        self._leave()


def _is_adaptive(optimizer: torch.optim.Optimizer) -> bool:
    name = type(optimizer).__name__
    return "Adam" in name or name in _ADAPTIVE
