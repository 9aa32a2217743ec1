"""What stays as it was while the parameters are displaced: branch decisions and constants, recorded in one evaluation and replayed in others.

So a value becomes a smooth function of the parameters with the derivative that autograd takes: ReLU units keep their side, detached numbers theirs.
Must not know engines and terms.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from inputgrad.passes.branches.tape import BranchTape


class FrozenDecisions:
    """The decisions and constants of an evaluation, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._tapes: list[BranchTape] = []
        self._constants: list[Sequence[Tensor]] = []
        self._next_tape = self._next_constants = 0
        self._recorded = False
        self._formula: BranchTape | None = None

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Around one evaluation: the first one records, the later ones replay."""
        self._next_tape = self._next_constants = 0
        yield
        self._recorded = True

    @contextmanager
    def formulas(self) -> Iterator[None]:
        """Around the formula of a term; what it asks of the batch is outside of it (`paused`)."""
        self._formula = self.tape()
        try:
            with self._formula.run():
                yield
        finally:
            self._formula = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what a term asks of the batch."""
        tape = self._formula
        before = tape.paused if tape else False
        if tape:
            tape.paused = True
        try:
            yield
        finally:
            if tape:
                tape.paused = before

    def tape(self) -> BranchTape:
        """The tape of the next pass or score."""
        if self._next_tape == len(self._tapes):
            self._tapes.append(BranchTape(parameters_move=True))
        self._next_tape += 1
        return self._tapes[self._next_tape - 1]

    def constants(self, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """These values, which are constants for the parameter gradient, as they were when they were recorded."""
        if not self._recorded:
            self._constants.append([value.detach().clone() for value in values])
        self._next_constants += 1
        return self._constants[self._next_constants - 1]

    @property
    def hidden(self) -> str | None:
        """Where a decision was met that cannot be replayed, in words."""
        return next((tape.unseen for tape in self._tapes if tape.unseen), None)
