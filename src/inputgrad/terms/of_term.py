"""A term made of another one, as the base of those that weigh or average it. Must not know which these are."""

from collections.abc import Mapping

from torch import Tensor

from inputgrad.terms.base import Term
from inputgrad.variables import Key


class OfTerm(Term):
    """A term whose name, variables and state are those of the term that it is made of."""

    term: Term

    @property
    def name(self) -> str:
        return self.term.name

    def variables(self) -> tuple[Key, ...] | None:
        return self.term.variables()

    def state(self) -> dict[str, Tensor]:
        return self.term.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.term.load_state(state)
