"""Watches the steps that optimisers make: what each goes along, and where the user's own code goes on. Knows no other probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from inputgrad.audit.call_sites import here
from inputgrad.audit.observations.run_facts import OptimizerStep
from inputgrad.audit.probes import adaptive_updates, counterfactual, optimizer_closures
from inputgrad.audit.probes.gradient_ownership import gradient_norm
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import without_torch_function

_ADAPTIVE = ("RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam")
"""The names of adaptive optimisers, beside those with Adam in it."""


class StepProbe:
    """Follows the steps of one run. after_each: called when an optimiser has stepped."""

    def __init__(self, recorder: Recorder, after_each: Callable[[], None]) -> None:
        self._recorder, self._after_each = recorder, after_each
        self._counts: dict[int, int] = {}
        """How many steps each optimiser has made."""

    def before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> optimizer_closures.Arguments | None:
        """A hook of every optimiser; its closure, where there is one, is exchanged for one that is followed."""
        if not self._recorder.watching:
            return None
        number = self._counts.setdefault(id(optimizer), 0)
        given = optimizer_closures.around(args, kwargs, self._resume, lambda: self._at_step(optimizer, number, closure=True))
        if given is None:
            self._at_step(optimizer, number, closure=False)
        self._recorder.stepping = True
        return given

    def after(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        """The other hook."""
        if not self._recorder.watching:
            return
        self._resume()
        self._recorder.ownership.stepped(optimizer)
        self._counts[id(optimizer)] += 1
        self._recorder.step = max(self._counts.values())
        self._after_each()

    def _resume(self) -> None:
        """The user's own code is at work again."""
        self._recorder.stepping = False

    def _at_step(self, optimizer: torch.optim.Optimizer, number: int, *, closure: bool) -> None:
        """What the step goes along; of a closure that is called several times in a step, at its first call."""
        counterfactual.give_up()
        facts = self._recorder.facts
        with without_torch_function():
            shares, stale = self._recorder.ownership.shares(optimizer)
            norm = gradient_norm(optimizer)
            alone = _is_adaptive(optimizer) and bool(shares) and all(call.graph.live_terms and call.graph.alone for call in shares)
            tenfold = adaptive_updates.tenfold(optimizer) if alone else None
        name = f"{type(optimizer).__name__} {list(self._counts).index(id(optimizer))}"
        if (name, number) not in [(step.optimizer, step.number) for step in facts.steps[-len(self._counts) :]]:
            facts.steps.append(OptimizerStep(name, number, here(), shares, norm, stale, closure, len(facts.calls), tenfold))
        for call in shares:
            call.fate.stepped = True
        self._recorder.stepping = True


def _is_adaptive(optimizer: torch.optim.Optimizer) -> bool:
    name = type(optimizer).__name__
    return "Adam" in name or name in _ADAPTIVE
