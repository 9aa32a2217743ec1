"""What became of an input gradient: the operations on it, how other tensors come from it, and where that way ends.

A TRAIL is how a tensor comes from a source: alive where autograd can still go back, or cut, and where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inputgrad.audit.sites import Site

if TYPE_CHECKING:
    from inputgrad.audit.facts import Source


@dataclass(frozen=True, eq=False)
class Use:
    """One operation on something that comes from a source."""

    name: str
    site: Site
    shape: tuple[int, ...]
    result: tuple[int, ...]
    dims: tuple[int, ...] | None
    numbers: tuple[float, ...] = ()
    """The plain numbers among its arguments."""
    moves: Literal["", "alive", "cut"] = ""
    """Whether this adds what comes from the gradient to the input itself, and with its graph or without."""
    span: tuple[float, float] | None = None
    """Where a layer takes something of the input's shape: its smallest and largest value."""


@dataclass(frozen=True)
class Cut:
    """Where the way back to a source ended."""

    site: Site
    by: str
    """"no graph" at the source itself; else the operation: "detach", "data", "item", "numpy", "no_grad"."""


@dataclass(frozen=True, eq=False)
class Trail:
    """How a tensor comes from a source."""

    source: Source
    cut: Cut | None

    @property
    def alive(self) -> bool:
        return self.cut is None


@dataclass(frozen=True, eq=False)
class Dead:
    """A summand of a loss that comes from an input gradient and that no parameter feels."""

    trail: Trail
    site: Site
    """Where it was added."""
    value: float
    size: tuple[int, ...]
    whole: bool = False
    """Whether it is no summand but the whole of the loss."""
