"""A pass of a model that returns several outputs, seen by a head of one of them, or by a base loss that sees them all. Must not know engines and terms."""

import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from inputgrad.base_losses import OwnLoss, sees_everything
from inputgrad.heads import Head, Inner, Output, Score
from inputgrad.passes.branches.tape import BranchTape
from inputgrad.passes.changes import Change
from inputgrad.passes.forward_pass import ForwardPass, Run
from inputgrad.passes.outputs import Part, check_one_output, check_output
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import Key


def scored(forward: ForwardPass, head: Head, target: Any, *, tape: BranchTape | None = None) -> tuple[ForwardPass, Score]:
    """The pass as a head sees it, whose output the score takes: of one output of several, or of the losses that a base loss makes of all.

    tape: of the branch decisions inside such a base loss. Raises `TypeError` where a model returns several outputs and the head takes one without saying which.
    """
    here = forward.values()
    if isinstance(head, Output):
        forward = _viewed(forward, Part(head.key))
        return forward, Score(OnPart(head), forward.values().output, target)
    if not isinstance(here.returned, Tensor) and here.returned is not None and forward.takes_default_output:
        if isinstance(head, OwnLoss) and sees_everything(head.base):
            forward = _viewed(forward, _FrozenLosses(head, target, tape))
            return forward, Score(OfLosses(head), forward.values().output, target)
        if not isinstance(head, Inner):
            check_one_output(here.returned)
    return forward, Score(head, here.output, target)


@dataclass(frozen=True)
class OnPart(Head):
    """What a head of one output takes, where the pass gives that output already."""

    of: Output

    def identity(self) -> Hashable:
        return self.of.identity()

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return self.of.head(output, target)

    @property
    def adds_all(self) -> bool:
        return self.of.head.adds_all

    def drawn(self, output: Tensor) -> Head:
        return self.of.head.drawn(output)


@dataclass(frozen=True)
class OfLosses(Head):
    """The samples' own losses ``[N]``, which the pass gives already."""

    own: OwnLoss

    def identity(self) -> Hashable:
        return ("losses", self.own.identity())

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return output


class _FrozenLosses:
    """The samples' own losses of what a model returned; their branch decisions (the sign of an absolute error) are those that were taken first."""

    def __init__(self, head: OwnLoss, target: Any, tape: BranchTape | None) -> None:
        self._head, self._target = head, target
        self._tape = tape or BranchTape()

    def __call__(self, returned: Any) -> Tensor:
        with nullcontext() if is_tracing() else self._tape.run():
            return self._head(returned, self._target)


class OutputView:
    """A forward pass with another part of what the model returns as its output. All else, and every run of the model, is that of the pass itself."""

    def __init__(self, whole: ForwardPass, pick: Callable[[Any], Tensor]) -> None:
        for name, value in {"_whole": whole, "_part": pick, "_last": None}.items():
            object.__setattr__(self, name, value)

    def primal(self) -> Run:
        return self._seen(self._whole.primal())

    def values(self) -> Run:
        return self._seen(self._whole.values())

    def run(self, changes: Mapping[Key, Change]) -> Run:
        return self._picked(self._whole.run(changes))

    def at(self, values: Mapping[Key, Tensor]) -> "OutputView":
        self._whole.at(values)
        return self

    def of_first_samples(self, count: int) -> "OutputView":
        return OutputView(self._whole.of_first_samples(count), self._part)

    def free_graph(self) -> None:
        object.__setattr__(self, "_last", None)
        self._whole.free_graph()

    def let_go(self) -> None:
        object.__setattr__(self, "_last", None)
        self._whole.let_go()

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_whole"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._whole, name, value)

    def _seen(self, run: Run) -> Run:
        """The part of a run that several ask for, picked once."""
        if self._last is None or self._last[0]() is not run:
            object.__setattr__(self, "_last", (weakref.ref(run), self._picked(run)))
        return cast(Run, self._last[1])

    def _picked(self, run: Run) -> Run:
        output = self._part(run.returned)
        check_output(output)
        return Run(output, run.variables, run.returned)


def _viewed(forward: ForwardPass, pick: Callable[[Any], Tensor]) -> ForwardPass:
    return cast(ForwardPass, OutputView(forward, pick))
