"""A term that keeps the base loss of its own loss where two losses are added. Must not know engines and the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inputgrad.base_losses import OwnLoss
from inputgrad.batch import Batch
from inputgrad.heads import Of
from inputgrad.places.base import Place
from inputgrad.terms.base import Per, Term
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.terms.of_term import OfTerm
from inputgrad.variables import Key, Wrt


@dataclass(frozen=True, eq=False)
class WithBase(OfTerm):
    """``term``, for which ``of="loss"`` and ``batch.loss`` are of ``base``."""

    term: Term
    base: Any

    def __call__(self, batch: Batch) -> Tensor:
        own = Batch(batch.model, batch.inputs, batch.target, _SourceOfBase(batch.source, self.base), is_training_step=batch.is_training_step)
        result = self.term(own)
        batch.gradient_leaves += own.gradient_leaves
        return result

    @property
    def per(self) -> Per:  # type: ignore[override]  # a setting of the class elsewhere
        return self.term.per

    @property
    def further_passes(self) -> bool:  # type: ignore[override]  # likewise
        return self.term.further_passes

    @property
    def index(self) -> Any:
        """What `Weighted` asks of a term whose samples have several rows."""
        return getattr(self.term, "index", None)

    @classmethod
    def example(cls) -> "WithBase":
        return cls(GradientNorm(of="loss"), nn.MSELoss())

    def __repr__(self) -> str:
        return repr(self.term)


class _SourceOfBase:
    """The source of a batch with another base loss."""

    def __init__(self, source: Any, base: Any) -> None:
        self._source, self._base = source, base

    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self._source.gradient(self._head(of), wrt, at, constant=constant)
        return found

    def gradient_at(self, value: Tensor, of: Of, key: Key) -> Tensor:
        found: Tensor = self._source.gradient_at(value, self._head(of), key)
        return found

    def loss_of(self, output: Tensor | None) -> Tensor:
        found: Tensor = self._source.loss_of(output, self._base)
        return found

    def loss_with(self, values: Mapping[Key, Tensor]) -> Tensor:
        found: Tensor = self._source.loss_with(values, self._base)
        return found

    def scores_of(self, of: Of, output: Tensor, at: Place | None) -> Tensor:
        found: Tensor = self._source.scores_of(self._head(of), output, at)
        return found

    def _head(self, of: Of) -> Of:
        return OwnLoss(self._base) if isinstance(of, str) and of == "loss" else of

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)
