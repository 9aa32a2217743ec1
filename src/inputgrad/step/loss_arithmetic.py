"""Sums and multiples of losses: ``crit_a + crit_b``, ``2 * crit``, ``crit / 4``, ``loss + term``. Must not know engines but by class."""

import math
from dataclasses import replace
from numbers import Real
from typing import Any, NoReturn, Self

from inputgrad.base_losses import SumOfBases
from inputgrad.engines.base import Engine
from inputgrad.engines.choice import Auto
from inputgrad.errors import Suggesting
from inputgrad.terms.base import Term, TermSum, Weighted
from inputgrad.terms.weights import number
from inputgrad.terms.with_base import WithBase


class LossArithmetic(metaclass=Suggesting):
    """The arithmetic of `InputGradientLoss`. Each result is a new loss; its value is what the expression says."""

    base: Any
    base_weight: float
    terms: tuple[Weighted, ...]
    engine: Any
    output: Any
    verify_first_step: bool
    check_finite: int | None
    step_number: int

    def __add__(self, other: Any) -> Self:
        if isinstance(other, (Term, Weighted, TermSum)):
            return self._made(self.base, self.base_weight, (*self.terms, *other.weighted()))
        if isinstance(other, LossArithmetic):
            return self._plus(other)
        return self._plus(type(self)(other)) if callable(other) or isinstance(other, str) else NotImplemented  # type: ignore[call-arg]  # a loss of that base

    def __radd__(self, other: Any) -> Self:
        if isinstance(other, int) and other == 0:  # sum([...]) starts from 0
            return self
        return type(self)(other) + self if callable(other) or isinstance(other, str) else NotImplemented  # type: ignore[call-arg]  # likewise

    def __mul__(self, factor: Any) -> Self:
        factor = number(factor)
        if isinstance(factor, bool) or not isinstance(factor, Real) or not math.isfinite(factor):
            return NotImplemented
        return self._made(self.base, float(factor) * self.base_weight, tuple(item.times(float(factor)) for item in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Self:
        divisor = number(divisor)
        return self * (1 / divisor) if isinstance(divisor, Real) and not isinstance(divisor, bool) else NotImplemented

    def sample_weight(self, *_given: Any, **_settings: Any) -> NoReturn:
        """What is said of a part, before it is added, and not of the whole loss; so are `named` and `scheduled`."""
        raise TypeError(
            "sample_weight, named and scheduled are said of one term before it is added: base + 0.1 * (term).sample_weight('w'). Weights per sample of the "
            "base loss, from target['w'] beside target['y']: ig.OnTarget('y', base).sample_weight('w'). Energies and forces: "
            "ig.recipes.energy_and_forces(..., sample_weight='w'), whose parts are 'base' and 'forces'"
        )

    named = scheduled = sample_weight

    def _plus(self, other: "LossArithmetic") -> Self:
        if self.output != other.output:
            raise ValueError(
                f"the two losses take different outputs of the model, output={self.output!r} and output={other.output!r}: give both the same one, or add "
                "their values, a(model, inputs, target) + b(model, inputs, target)"
            )
        mine, others = self.base, other.base
        if mine is None or others is None or mine is others:
            weight = other.base_weight if mine is None else self.base_weight if others is None else self.base_weight + other.base_weight
            made = self._made(others if mine is None else mine, weight, (*self.terms, *other.terms))
        else:
            base = SumOfBases([(self.base_weight, mine), (other.base_weight, others)])
            made = self._made(base, 1.0, (*_keeping(self.terms, mine), *_keeping(other.terms, others)))
        made.engine = _engine(self.engine, other.engine)
        made.verify_first_step = self.verify_first_step and other.verify_first_step
        made.check_finite = min(filter(None, (self.check_finite, other.check_finite)), default=None)
        return made

    def _made(self, base: Any, base_weight: float, terms: tuple[Weighted, ...]) -> Self:
        made = type(self)(base, terms, engine=self.engine, output=self.output, verify=self.verify_first_step)  # type: ignore[call-arg]  # the loss's own
        made.base_weight = base_weight
        made.step_number, made.check_finite = self.step_number, self.check_finite
        return made


def _keeping(terms: tuple[Weighted, ...], base: Any) -> list[Weighted]:
    """The terms, for which the base loss is what it was."""
    return [item if isinstance(item.term, WithBase) else replace(item, term=WithBase(item.term, base)) for item in terms]


def _engine(mine: Engine, other: Engine) -> Engine:
    if isinstance(mine, Auto) or isinstance(other, Auto) or mine == other:
        return other if isinstance(mine, Auto) else mine
    raise ValueError(f"two losses are added that name other engines, {mine.name!r} and {other.name!r}: set criterion.engine of one of them first")
