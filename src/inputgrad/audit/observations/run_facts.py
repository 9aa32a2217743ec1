"""All that one run has shown: its gradient calls, steps, layers at work, and events. Records alone; the rules read them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from inputgrad.audit.call_sites import Site
from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient


@dataclass(frozen=True, eq=False)
class OptimizerStep:
    """One step of an optimiser: which calls its gradients come from, with the norm of each share, and the norm of the whole."""

    optimizer: str
    number: int
    site: Site
    shares: dict[GradientCall, float]
    norm: float
    stale: tuple[GradientCall, ...] = ()
    """Calls whose gradients an earlier step of the same optimiser had used already."""
    closure: bool = False
    """Whether the optimiser calls the backward passes itself."""
    calls: int = 0
    """How many gradient calls had been made before."""
    tenfold: float | None = None
    """Where every gradient comes from terms on input gradients, and the optimiser is adaptive: how much ten times the gradient changes the update."""
    of_inputs: bool = False
    """Whether the optimiser moves inputs (the inner loop of an attack) beside others that train parameters."""


@dataclass(frozen=True, eq=False)
class LayerPass:
    """A normalisation or dropout layer at work in one forward pass."""

    kind: Literal["batch_norm", "dropout"]
    training: bool
    step: int
    site: Site
    state: int
    """The running mean's identity, or 0."""
    number: int
    """How many gradient calls had been made before."""
    requires_grad: bool = False
    layer: int = 0
    """Which layer it is, by the module and the line that ran it."""
    given: tuple[float, ...] = ()
    """Of a dropout layer in training mode: what tells its input apart from another; and below its random draw."""
    draw: int = 0


@dataclass(frozen=True, eq=False)
class Event:
    """Something else that one rule or another wants to know of."""

    name: str
    site: Site
    step: int
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class Facts:
    """All that a run has shown."""

    calls: list[GradientCall] = field(default_factory=list)
    steps: list[OptimizerStep] = field(default_factory=list)
    passes: list[LayerPass] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    effect_with_graph: dict[Site, float] = field(default_factory=dict)
    """Line of a gradient without a graph -> ‖∂term/∂θ‖ that it would have had with one."""
    attempts: dict[Site, int] = field(default_factory=dict)
    """How often that was tried."""
    measurable: bool = True
    """Whether what a graph would change could be measured here."""
    failure: BaseException | None = None
    ended_early: bool = False

    @property
    def input_gradients(self) -> Iterator[InputGradient]:
        for call in self.calls:
            yield from call.input_gradients
