"""How a tensor comes from an input gradient: by which operations, whether autograd can still go back, or where that way was cut. Records alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inputgrad.audit.call_sites import Site

if TYPE_CHECKING:
    from inputgrad.audit.observations.gradient_calls import InputGradient


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation on something that comes from an input gradient."""

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
    bounded: tuple[float, float] | None = None
    """Where something of the input's shape is brought between bounds: its smallest and largest value afterwards."""


@dataclass(frozen=True)
class GraphCut:
    """Where the way back to an input gradient ended."""

    site: Site
    by: str
    """"no graph" at the gradient itself; else the operation: "detach", "data", "item", "numpy", "no_grad"."""


@dataclass(eq=False)
class Values:
    """The values of one tensor of the input's size that comes from an input gradient without a graph. fed: whether a layer took them, as it takes a sample."""

    fed: bool = False


@dataclass(frozen=True, eq=False)
class Origin:
    """That a tensor comes from this input gradient, and where the graph between them was cut, if it was."""

    gradient: InputGradient
    cut: GraphCut | None
    moved: bool = False
    """Whether it is the input itself, moved along the gradient, or comes from that: a sample, an adversarial example."""
    meant: bool = False
    """Whether the user's code says that it is a constant: detached, or computed under ``no_grad``, where it had no graph anyway."""
    values: frozenset[Values] = frozenset()
    """The tensor's own values."""
    made_of: frozenset[Values] = frozenset()
    """All values on the way from the gradient to it, its own among them."""
    through: frozenset[Operation] = frozenset()
    """The operations on the way."""

    @property
    def alive(self) -> bool:
        return self.cut is None


@dataclass(frozen=True, eq=False)
class LiveTerm:
    """An input gradient that a loss depends on, with its graph. effect: ‖∂term/∂θ‖, or None where it was not measured; pull: ‖∂loss/∂g‖."""

    gradient: InputGradient
    effect: float | None
    pull: float | None
    operations: tuple[Operation, ...] = ()
    """The operations on the way from the gradient to the loss, in the order of the run; what was only printed is not among them."""
    direct: bool = False
    """Whether an input that it has moved is in the loss itself, beside what a network makes of it (a trajectory). Only where it has moved one."""


@dataclass(frozen=True, eq=False)
class DeadTerm:
    """A summand of a loss that comes from an input gradient and that changes no parameter."""

    origin: Origin
    site: Site
    """Where it was added."""
    value: float
    size: tuple[int, ...]
    whole: bool = False
    """Whether it is no summand but the whole of the loss."""
    residual: bool = False
    """Whether it was added to what the same network gives, and both together went on: a part of a residual."""

    @property
    def sample(self) -> bool:
        """Whether it comes from a point that the gradient led to (a sample, an adversarial example), not from the gradient as such."""
        return self.origin.moved or any(values.fed for values in self.origin.made_of)
