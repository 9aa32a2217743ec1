"""The steps that optimisers make: what each goes along, and where the user's own code goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from inputgrad.audit import closures, updates, whatif
from inputgrad.audit.facts import Step
from inputgrad.audit.sites import here

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch


class Steps:
    """Follows the steps of one run."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._counts: dict[int, int] = {}
        self.stepping = False
        """Whether an optimiser is at work: what it does itself is not followed, its closure is."""

    @property
    def number(self) -> int:
        """Of the present step: how many the busiest optimiser has made."""
        return max(self._counts.values(), default=0)

    def before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> closures.Arguments | None:
        """A hook of every optimiser; its closure, where there is one, is exchanged for one that is followed."""
        if not self._watch.watching:
            return None
        number = self._counts.setdefault(id(optimizer), 0)
        given = closures.around(args, kwargs, self.resume, lambda: self._at_step(optimizer, number, closure=True))
        if given is None:
            self._at_step(optimizer, number, closure=False)
        self.stepping = True
        return given

    def resume(self) -> None:
        """The user's own code is at work again."""
        self.stepping = False

    def _at_step(self, optimizer: torch.optim.Optimizer, number: int, *, closure: bool) -> None:
        """What the step goes along; of a closure that is called several times in a step, at its first call."""
        whatif.give_up(self._watch)
        with torch._C.DisableTorchFunction():
            shares, norm, stale, finite = self._watch.contributions.at_step(optimizer)
            adaptive = "Adam" in type(optimizer).__name__ or type(optimizer).__name__ in ("RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam")
            alone = adaptive and bool(shares) and all(call.alive and call.alone for call in shares)
            tenfold = updates.tenfold(optimizer) if alone else None
        name = f"{type(optimizer).__name__} {list(self._counts).index(id(optimizer))}"
        if (name, number) not in [(step.optimizer, step.number) for step in self._watch.facts.steps[-len(self._counts) :]]:
            self._watch.facts.steps.append(
                Step(name, number, here(), shares, norm, adaptive, stale, closure, len(self._watch.facts.calls), tenfold, not finite)
            )
        for call in shares:
            call.stepped = True
        self.stepping = True

    def after(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        """The other hook."""
        if not self._watch.watching:
            return
        self.stepping = False
        self._watch.contributions.stepped(optimizer)
        self._watch.gradients.stepped()
        self._counts[id(optimizer)] += 1
        self._watch.after_step()
