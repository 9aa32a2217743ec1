"""Coordinates: the columns of a model's inputs by name, and how a derivative is spelled with their names. Knows no model."""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.operators.differentiation import gradients
from inputgrad.operators.taylor.field_source import FieldSource

Names = str | Sequence[str]
"""Names of coordinates or outputs: ("x", "t"), or in one string where each is one letter, "xt"."""


_BY_ITSELF = (None,)


class Columns:
    """The columns of tensors, counted through all of them, each ``[N]`` and taken when it is first asked for: a gradient of many coordinates has one graph."""

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self._parts = [(part, place) for part in parts for place in (_BY_ITSELF if part.dim() == 1 else range(part.shape[1]))]
        self._taken: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        if index not in self._taken:
            part, place = self._parts[index]
            self._taken[index] = part if place is None else part.select(1, place)
        return self._taken[index]


class Coordinates:
    """The columns of the variables, by name, and the derivative with respect to each of them."""

    def __init__(self, source: FieldSource, names: Names) -> None:
        self.source = source
        self.names = names_of("names", names)
        shapes = source.shapes()
        count = sum(map(_count, shapes))
        if len(self.names) != count:
            raise ValueError(
                f"names must name each of the {count} coordinates, the columns of inputs of shape {[list(z.shape) for z in shapes]}; got {self.names}"
            )

    @cached_property
    def values(self) -> tuple[Tensor, ...]:
        """The values ``[N]`` of each coordinate."""
        return tuple(column for z in self.source.variables for column in _columns(z))

    def gradient(self, quantity: Tensor, *, of_output: bool = False) -> "Columns":
        """∂/∂ every coordinate of a quantity ``[N]``, each ``[N]``. It is an error that the output itself does not depend on an input."""
        if not of_output:
            self.source.ask(("of", ()))
        found = self.source.slopes(quantity) if of_output else gradients(quantity, self.source.variables)
        self.source.note(None if of_output else quantity, found)
        return Columns(found)

    def order(self, names: tuple[Any, ...]) -> tuple[int, ...]:
        """The numbers of the coordinates that the names of a derivative spell."""
        try:
            return _order(self.names, names)
        except TypeError:  # as what cannot be hashed raises too: said by what reads the names
            return _order.__wrapped__(self.names, names)

    def sorted_order(self, names: tuple[Any, ...]) -> tuple[int, ...]:
        """The same sorted: derivatives in another order are the same derivative."""
        try:
            return _sorted_order(self.names, names)
        except TypeError:
            return _sorted_order.__wrapped__(self.names, names)


@lru_cache(maxsize=1024)
def _order(known: tuple[str, ...], names: tuple[Any, ...]) -> tuple[int, ...]:
    """Asked for at every step: each way of asking is read once."""
    if len(names) == 2 and isinstance(names[0], str) and type(names[1]) is int and 0 < names[1] < 9:  # the order as a number
        raise TypeError(f"a derivative of higher order repeats the coordinate's name: write d({', '.join([repr(names[0])] * names[1])}); got {names!r}")
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f'a derivative is named by its coordinates, such as "{known[0]}" or "{known[0] * 2}"; got {names!r}')
    return tuple(known.index(part) for name in names for part in _spelled(name, known))


@lru_cache(maxsize=1024)
def _sorted_order(known: tuple[str, ...], names: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(sorted(_order.__wrapped__(known, names)))


def _spelled(text: str, known: tuple[str, ...]) -> list[str]:
    if text in known:
        return [text]
    ways = _spellings(text, known)
    if len(ways) == 1:
        return ways[0]
    problem = "can be read in several ways" if ways else "is not spelled of the coordinates' names"
    apart = [_spellings(part, known) for part in re.split(r"[^\w]+|_", text) if part]
    meant = ways[0] if ways else [name for found in apart for name in found[0]] if apart and all(apart) else []
    pair = f"{known[0]!r}, {known[-1]!r}"
    told = f"did you mean d({', '.join(map(repr, meant))})?" if meant else f"{nearest(text, known)}. A second derivative is d({pair})"
    raise ValueError(f"the derivative {text!r} {problem}; {told} Give the names one by one" if meant else f"the derivative {text!r} {problem}; {told}")


def names_of(argument: str, names: Any) -> tuple[str, ...]:
    """Names as a tuple: one string is a name a letter."""
    try:
        return _names_of(argument, names)
    except TypeError:  # a list, or what cannot be hashed
        return _names_of.__wrapped__(argument, names)


@lru_cache(maxsize=1024)
def _names_of(argument: str, names: Any) -> tuple[str, ...]:
    found = tuple(names) if isinstance(names, (str, tuple, list)) else ()
    if not found or not all(isinstance(name, str) and name for name in found) or len(set(found)) != len(found):
        raise ValueError(f'{argument} must be different names, such as ("x", "t"), or "xt" where each is one letter; got {names!r}')
    return found


def names_or_none(argument: str, names: Names | None) -> tuple[str, ...] | None:
    return None if names is None else names_of(argument, names)


def _columns(z: Tensor) -> tuple[Tensor, ...]:
    return (z,) if z.dim() == 1 else z.unbind(1)


def _count(z: Tensor) -> int:
    """How many columns it has. Raises `ValueError` for what is no columns."""
    if z.dim() > 2:
        raise ValueError(f"a field's inputs must be columns of coordinates, [N] or [N, D], got shape {list(z.shape)}; for others use inputgrad.laplacian")
    return 1 if z.dim() == 1 else z.shape[1]


def _spellings(text: str, names: tuple[str, ...]) -> list[list[str]]:
    """Every way to read the text as a row of names."""
    if not text:
        return [[]]
    return [[name, *rest] for name in names if text.startswith(name) for rest in _spellings(text[len(name) :], names)]
