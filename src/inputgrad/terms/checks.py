"""Checks of what is said of a term besides its weight: name, weights per sample, how often and on what share of the batch. Must not know terms."""

import functools
import re
from collections.abc import Callable
from typing import Any, NoReturn

from inputgrad.errors import Suggesting, of_every_term
from inputgrad.variables import described


def check_label(label: Any) -> None:
    """Raises for a name of a part that is none."""
    if label is not None and (not isinstance(label, str) or not label or label == "base"):
        raise ValueError(f'the name of a term must be a text, and not "base", which is the base loss; got {label!r}')


def check_sample_weights(term: Any, weights: tuple[Any, ...]) -> None:
    """Raises for weights per sample that name none, and of a term that has no number per sample."""
    for given in weights:
        if isinstance(given, bool) or not (isinstance(given, (str, int)) or (callable(given) and not isinstance(given, type))):
            raise TypeError(
                f"sample_weight of {term.name} must be a name or a position of the target, or a callable of the batch, such as lambda batch: "
                f"batch.target['w']; got {described(given)}"
            )
    if weights and term.per == "batch":
        raise ValueError(
            f"the term {term.name} is a statistic of the batch: it has no number per sample that sample_weight could multiply{_weighted_otherwise(term)}"
        )


def _weighted_otherwise(term: Any) -> str:
    """How a statistic of the batch is weighed, where it can be: by its own setting ``scale``, or per sample."""
    if not hasattr(term, "scale"):
        return ""
    return (
        '. Leave per at "sample", or put the weights inside the norm: scale=lambda batch: batch.target["w"].sqrt()[index][:, None] for squares. '
        'For energies and forces: ig.recipes.energy_and_forces(per="batch", sample_weight="w")'
    )


def check_schedule(term: Any, every: Any, fraction: float) -> None:
    """Raises for an ``every`` or a ``fraction`` that this term cannot have."""
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every of {term.name} must be a whole number of steps, at least 1; got {every!r}")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction of {term.name} must be a share of the batch, above 0 and at most 1; got {fraction!r}")
    if fraction < 1 and term.per == "batch":
        raise ValueError(f"the term {term.name} is a statistic of the batch: on a share of the batch it would be another; leave fraction at 1")
    if fraction < 1 and getattr(term, "index", None) is not None:
        raise ValueError(f"the samples of {term.name} have several rows each (index), and a share would thin them out; leave fraction at 1")
    if fraction < 1 and term.state():
        raise ValueError(f"the term {term.name} carries a state from step to step, for the rows of whole batches; leave fraction at 1")


LOSS_VALUE = (
    "a term is added to a loss function, not to the value of a loss, a tensor: write criterion = nn.MSELoss() + 0.1 * term once, then "
    "loss = criterion(model, inputs, target) in place of the sum"
)
"""What is said where a term is added to a tensor."""


def no_loss(term: Any, *_arguments: Any) -> NoReturn:
    """What is said where a weighted term is called as a loss."""
    raise TypeError(
        f"{term!r} is a term, not a loss: add it to a base loss, criterion = nn.MSELoss() + term, or take it alone, "
        "criterion = ig.InputGradientLoss(None, term); then call criterion(model, inputs, target)"
    )


class TermClass(Suggesting):
    """The class of the terms' classes. ``0.1 * GradientNorm``, without the brackets, is one clear error; so is a term that is called as a loss."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> "TermClass":
        call = namespace.get("__call__")
        if callable(call) and not getattr(call, "__isabstractmethod__", False):
            namespace["__call__"] = _of_a_batch(call)
        return super().__new__(mcs, name, bases, namespace, **keywords)

    def said_otherwise(cls, name: str) -> str:
        """Weight, schedule, name and weights per sample are no settings of a term."""
        return of_every_term(name)

    def _not_an_instance(cls, other: Any) -> NoReturn:
        raise TypeError(f"{cls.__name__} is a class: pass an instance, such as 0.1 * {cls.__name__}()")

    __mul__ = __rmul__ = __truediv__ = __add__ = __radd__ = __sub__ = __rsub__ = _not_an_instance


_NOT_GIVEN = object()


def _of_a_batch(call: Callable[..., Any]) -> Callable[..., Any]:
    """The term's formula, which takes a batch and nothing else: ``term(model, inputs, target)`` raises an error that says what to write."""

    @functools.wraps(call)
    def checked(self: Any, /, batch: Any = _NOT_GIVEN, *further: Any, **named: Any) -> Any:
        if batch is not _NOT_GIVEN and not further and not named:
            return call(self, batch)
        if batch is not _NOT_GIVEN or further or len(named) != 1:
            no_loss(self)
        return call(self, **named)

    return checked


@functools.cache
def snake_case(name: str) -> str:
    """The name of a class as a part of a loss is called.

    >>> snake_case("GradientNorm")
    'gradient_norm'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
