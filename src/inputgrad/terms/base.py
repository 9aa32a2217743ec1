"""What a term is: a formula on the input gradient that gives one number per sample. And how terms are weighted and added.

A term never calls autograd for its gradient and knows no engine: it asks its batch. A new term is one file with a frozen dataclass, one import
line in ``terms/__init__.pyi``, and one row in the tests' table of cases (CONTRIBUTING.md).
"""

import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Literal

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.terms.checks import LOSS_VALUE, TermClass, check_label, check_sample_weights, check_schedule, no_loss, snake_case
from inputgrad.terms.weights import Weight, at_step, is_weight, number, product
from inputgrad.variables import Key, keys_of

Per = Literal["sample", "batch"]


_LOSS_CLASSES: tuple[Any, ...] = ()
"""What a base loss plus terms is an instance of. The loss registers its class, since it knows the terms and they do not know it."""


def register_loss(cls: type) -> None:
    """Make ``cls`` the class of a base loss plus terms; ``cls(base, weighted_terms)`` builds one."""
    global _LOSS_CLASSES
    _LOSS_CLASSES = (cls,)


def _loss_class() -> Any:
    """The registered class. Where only terms have been imported so far, the package's public name brings the loss, which registers itself."""
    return _LOSS_CLASSES[0] if _LOSS_CLASSES else sys.modules[__package__.partition(".")[0]].InputGradientLoss


class _Summand:
    """The arithmetic of terms: ``w * term``, ``term ± term``, ``base_loss ± term`` in either order. Each gives the next larger thing."""

    __array_ufunc__ = None  # numpy's numbers leave the product to the term

    def weighted(self) -> tuple["Weighted", ...]:
        """Its terms, each with its weight."""
        raise NotImplementedError

    def __mul__(self, factor: Any) -> Any:
        factor = number(factor)
        if not is_weight(factor):
            return NotImplemented
        return _joined(part.times(factor) for part in self.weighted())

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Any:
        divisor = number(divisor)
        return self * (1 / divisor) if isinstance(divisor, Real) else NotImplemented

    def __neg__(self) -> Any:
        return self * -1.0

    def scheduled(self, *, every: int | None = None, fraction: float | None = None) -> "TermSum | Weighted":
        """The same, at some steps only, or on a random share of the batch.

        every: k: it is taken at each k-th step, with k times its weight. fraction: the share of the batch that it is taken on.

        Both are unbiased: the expectation over steps, or draws, is the full term. With momentum or an adaptive optimiser the training still differs; where
        the term has an optimiser step of its own see `inputgrad.lazy_adam`. A second call multiplies the numbers.
        """
        return _joined(part.thinned(1 if every is None else every, 1.0 if fraction is None else fraction) for part in self.weighted())

    def named(self, name: str) -> "Weighted":
        """The same term under another name in ``step.parts``, ``criterion.losses``, logs and reports. Equal names in one loss are an error.

        name: the name.

        >>> import torch, inputgrad as ig
        >>> criterion = torch.nn.MSELoss() + 0.1 * ig.GradientNorm().named("smooth")
        >>> sorted(criterion.evaluate(torch.nn.Linear(2, 1), torch.rand(3, 2), torch.rand(3, 1)).parts)
        ['base', 'smooth']
        """
        return replace(self._alone("named"), label=name)

    def sample_weight(self, weights: "str | int | Callable[[Batch], Tensor]") -> "Weighted":
        """The same term with R_n multiplied by one weight per sample, w_n, before the mean: mean_n w_n R_n.

        weights: a name or a position of the target, where that is a dict or a tuple, or a callable of the batch; ``[N]``. Weights given twice multiply.

        >>> import torch, inputgrad as ig
        >>> criterion = ig.OnTarget("y", "mse") + 0.1 * ig.GradientNorm().sample_weight("w")
        >>> loss = criterion(torch.nn.Linear(2, 1), torch.rand(3, 2), {"y": torch.rand(3, 1), "w": torch.tensor([1.0, 0.0, 2.0])})
        """
        part = self._alone("sample_weight")
        return replace(part, sample_weights=(*part.sample_weights, weights))

    def _alone(self, what: str) -> "Weighted":
        several = self.weighted()
        if len(several) != 1:
            raise TypeError(f"{what} is said of one term, and this is a sum of {len(several)}: say it of each before adding them")
        return several[0]

    def __add__(self, other: Any) -> Any:
        if isinstance(other, _Summand):
            return TermSum((*self.weighted(), *other.weighted()))
        return self.__radd__(other)

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, _Summand):
            return self + -other
        if callable(other):
            raise TypeError("a base loss cannot be taken from a term: write base_loss - term, or base_loss + (-1.0) * term")
        return NotImplemented

    def __radd__(self, base: Any) -> Any:
        if isinstance(base, int) and base == 0:  # sum([...]) starts from 0
            return TermSum(self.weighted())
        if isinstance(base, _LOSS_CLASSES):
            return base + TermSum(self.weighted())
        if callable(base) or isinstance(base, str):
            return _loss_class()(base, self.weighted())
        if isinstance(base, Tensor):
            raise TypeError(LOSS_VALUE)
        return NotImplemented

    def __rsub__(self, base: Any) -> Any:
        return (-self).__radd__(base)


class Term(_Summand, metaclass=TermClass):
    """One formula R on the input gradient. Concrete terms are frozen dataclasses: their settings are the object."""

    per: ClassVar[Per] = "sample"
    """Whether it returns ``[N]`` ("sample") or is a statistic of the batch and returns a 0-d tensor ("batch")."""

    further_passes: ClassVar[bool] = True
    """Whether it may ask for passes of the model besides the batch's own. False for a formula of the input gradient alone saves a little in each step."""

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """R ``[N]``, one number per sample; the loss takes the mean."""

    def state(self) -> dict[str, Tensor]:
        """What it carries from one step to the next, such as a running mean; the criterion keeps it in its ``state_dict``.

        A term with a state changes it only where ``batch.is_training_step``.
        """
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        if state:
            raise ValueError(f"the term {self.name} has no state, and was given {sorted(state)}")

    @property
    def name(self) -> str:
        """The name under which the loss reports it: ``GradientNorm`` is ``"gradient_norm"``."""
        return snake_case(type(self).__name__)

    @classmethod
    def example(cls) -> "Term":
        """An instance with ordinary settings, for pages and tests."""
        return cls()

    def variables(self) -> tuple[Key, ...] | None:
        """What it will differentiate with respect to, so that one forward pass opens them all; None if it cannot say."""
        return keys_of(getattr(self, "wrt", 0))

    def weighted(self) -> tuple["Weighted", ...]:
        return (Weighted(self, 1.0),)


@dataclass(frozen=True)
class Weighted(_Summand):
    """A term with its weight, ``0.01 * GradientNorm()``. A term without a weight has the same methods.

    term: the term; weight: its factor in the loss; every: k, it is taken at each k-th step; fraction: the share of the batch it is taken on;
    label: the name that `named` gave it; sample_weights: what `sample_weight` was given.
    """

    term: Term
    weight: Weight = 1.0
    every: int = 1
    fraction: float = 1.0
    label: str | None = None
    sample_weights: tuple[str | int | Callable[[Batch], Tensor], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.term, Term):
            raise TypeError(f"a weight multiplies a term, got {type(self.term).__name__}; decorate a function with @inputgrad.term to make it one")
        if not is_weight(self.weight):
            raise TypeError(f"the weight of {self.term.name} must be a number or a callable of the step number, got {self.weight!r}")
        check_label(self.label)
        check_sample_weights(self.term, self.sample_weights)
        check_schedule(self.term, self.every, self.fraction)

    __call__ = no_loss

    def weighted(self) -> tuple["Weighted", ...]:
        return (self,)

    @property
    def name(self) -> str:
        """What the loss reports it as: its own name, or that of its term."""
        return self.label or self.term.name

    def at_step(self, step: int) -> float:
        """The weight at the step of this number."""
        weight = at_step(self.weight, step)
        if not isinstance(weight, Real) or not math.isfinite(weight):
            raise ValueError(f"the weight of {self.term.name} at step {step} must be a finite number, got {weight!r}")
        return float(weight)

    def times(self, factor: Weight) -> "Weighted":
        """The same term with ``factor`` times its weight."""
        return replace(self, weight=factor if self.weight == 1 else product(factor, self.weight))

    def thinned(self, every: int, fraction: float) -> "Weighted":
        """At each ``every``-th of its steps only, on a share ``fraction`` of its share."""
        given = replace(self, every=every, fraction=fraction)  # checked each by itself
        return replace(given, every=self.every * every, fraction=self.fraction * fraction)

    def __repr__(self) -> str:
        schedule = {"every": self.every, "fraction": self.fraction}
        told = ", ".join(f"{name}={value}" for name, value in schedule.items() if value != 1)
        weighted = f"{self.weight if callable(self.weight) else format(self.weight, 'g')} * {self.term}"
        told = f"({weighted}).scheduled({told})" if told else weighted
        extras = [f".named({self.label!r})"] if self.label else []
        extras += [f".sample_weight({weights!r})" for weights in self.sample_weights]
        return f"({told}){''.join(extras)}" if extras else told


@dataclass(frozen=True)
class TermSum(_Summand):
    """Weighted terms added up, before a base loss is added. parts: the terms."""

    parts: tuple[Weighted, ...]

    __call__ = no_loss

    def weighted(self) -> tuple[Weighted, ...]:
        return self.parts


def _joined(parts: Iterable["Weighted"]) -> "TermSum | Weighted":
    several = tuple(parts)
    return several[0] if len(several) == 1 else TermSum(several)
