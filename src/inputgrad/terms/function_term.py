"""Terms made of a function of the user's: ``@inputgrad.term``. Must not know engines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.errors import nearest, suggesting
from inputgrad.terms.base import Per, Term
from inputgrad.terms.weights import by_name, found
from inputgrad.variables import Key, Wrt, keys_of


@dataclass(frozen=True)
class FunctionTerm(Term):
    """A term of your own, made of a function by `term`. Pickled by its name, where that names it in its module; else as its function is.

    function: batch -> ``[N]``, or a 0-d tensor with ``per="batch"``.
    per: "sample" for one number per sample, "batch" for a statistic of the batch.
    wrt: the input that the function differentiates with respect to, where it is not the first; only spares a forward pass.
    """

    function: Callable[[Batch], Tensor]
    per: Per = "sample"  # type: ignore[misc]  # a setting here, fixed by the class elsewhere
    wrt: Wrt | None = None

    def __call__(self, batch: Batch) -> Tensor:
        return self.function(batch)

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    @classmethod
    def example(cls) -> Term:
        return cls(_squared_norm)

    def variables(self) -> tuple[Key, ...] | None:
        return None if self.wrt is None else keys_of(self.wrt)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        place = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", None)
        return (by_name, place) if found(*place) is self else (FunctionTerm, (self.function, self.per, self.wrt))


@overload
def term(function: Callable[[Batch], Tensor], /) -> FunctionTerm: ...
@overload
def term(*, per: Per = "sample", wrt: Wrt | None = None) -> Callable[[Callable[[Batch], Tensor]], FunctionTerm]: ...
@suggesting
def term(function: Callable[[Batch], Tensor] | None = None, /, *, per: Per = "sample", wrt: Wrt | None = None) -> Any:
    """Make a term of a function ``batch -> [N]`` (with ``per="batch"``: ``-> 0-d``), as a decorator, with or without arguments.

    function: what is decorated; it takes a `Batch`.
    per: "sample" for one number per sample, "batch" for a statistic of the batch.
    wrt: what the function differentiates with respect to, where it is not the first input; only spares a forward pass.

    A criterion with such a term can be pickled where the function is decorated at the top of a module that can be imported; not where it is a lambda
    or made inside another function.
    """
    if per not in ("sample", "batch"):
        raise ValueError(f"per={per!r}: {nearest(per, ('sample', 'batch'))}")
    if function is None:
        return lambda decorated: FunctionTerm(decorated, per, wrt)
    if not callable(function):
        raise TypeError(f"@inputgrad.term decorates a function of the batch, got {function!r}; its options are keywords: per=, wrt=")
    return FunctionTerm(function, per, wrt)


def _squared_norm(batch: Batch) -> Tensor:
    return batch.gradient().flatten(1).pow(2).sum(1)
