"""What the run shows: gradients that were taken, what became of them, and what the optimiser stepped along. Facts alone; no verdict.

A SOURCE is a tensor that holds an input gradient. What comes from it is followed by its `trails`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from inputgrad.audit.sites import Site
from inputgrad.audit.trails import Dead, Use


@dataclass(eq=False)
class GradientCall:
    """One ``backward`` or ``autograd.grad``, or one that raised."""

    kind: Literal["backward", "grad"]
    site: Site
    number: int
    step: int
    create_graph: bool
    retain_graph: bool
    grad_enabled: bool
    inference: bool
    root_shape: tuple[int, ...]
    root_requires_grad: bool
    mean_over: int | None = None
    """N, where what was differentiated is a mean over N samples."""
    summed_outputs: int | None = None
    """C, where what was differentiated is the plain sum of a tensor of C > 1 outputs a sample."""
    scaled: bool = False
    """Whether what was differentiated is a scaled loss (GradScaler)."""
    scale: float = 1.0
    """The scale, where it is."""
    values: tuple[int, ...] = ()
    """The shape of what was summed or averaged into the root; the root's own where it is no sum."""
    values_by: str = ""
    """The name of the node in the graph that made those values."""
    half: bool = False
    """Whether a float16 value lies between the root and the inputs."""
    autocast: bool = False
    allow_unused: bool = False
    materialize: bool = False
    inputs_given: bool = False
    unrecorded: bool = False
    """Whether what was differentiated was computed while gradients were off."""
    graph_in_grads: int = 0
    """How many parameters' ``.grad`` carried the graph of an earlier pass when this one began."""
    sources: list["Source"] = field(default_factory=list)
    unused: int = 0
    """How many of the wanted gradients came back as None, or as zeros made up."""
    contributions: dict[int, Tensor] = field(default_factory=dict)
    """What it added to each parameter's ``.grad``, by the parameter's identity, until that is stepped or thrown away."""
    contributed: float = 0.0
    """The norm of all that it added to parameters."""
    stepped: bool = False
    discarded: bool = False
    discarded_by: Site | None = None
    input_gradient_read: bool = False
    parameter_gradient_read: bool = False
    alive: list["Reached"] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    shares_graph_with: list["GradientCall"] = field(default_factory=list)
    """Earlier calls whose root lies in the graph of this one's."""
    batch_norm_training: bool = False
    """Whether batch normalisation in training mode lies between the root and the inputs."""
    coupling: float | None = None
    """The share of the first sample's gradient, in norm, that lies in the other samples' inputs; measured where normalisation may couple them."""
    transform: str = ""
    """The transform of torch.func that gave it."""
    error: str | None = None
    not_finite: bool = False
    wanted: int = 0
    """How many gradients were asked for of tensors that are not trained."""
    silenced: int = 0
    """How many of these came back as None, or as zeros made up."""
    alone: bool = False
    """Whether it comes to parameters by way of input gradients only: a term without the loss."""
    nodes: int = 0
    """How many nodes lie behind the root, where its graph is kept."""
    obstacles: frozenset[str] = frozenset()
    """What lies there and may have no second derivative: "attention", "compiled", "checkpoint", or "once:" and the name of a once_differentiable Function."""
    entries_cut: int = 0
    """How many entries to tensor parallelism ended the graph that was to be kept."""
    reaches: frozenset[int] = frozenset()
    """The identities of the leaves that a backward pass reaches, by whatever value."""

    @property
    def trains(self) -> bool:
        """Whether its contribution to the parameters was stepped along, and it was not there for the input gradient alone."""
        return self.kind == "backward" and self.stepped and not (self.input_gradient_read and not self.alive and not self.dead)


@dataclass(eq=False)
class Source:
    """One input gradient: its call, what it is the gradient of, and what was done with it."""

    call: GradientCall
    site: Site
    shape: tuple[int, ...]
    requires_grad: bool
    dtype: str
    accumulated: int = 1
    """How many backward passes its values are the sum of."""
    sum_of: tuple[GradientCall, ...] = ()
    """These passes, where it was read off ``.grad``; the last is its own."""
    zero_rows: int = 0
    zero_share: float = 0.0
    norm: float = 0.0
    """The norm of the whole tensor."""
    row_norm: float = 0.0
    """The mean of the samples' norms."""
    channel_norm: float = 0.0
    """The mean of the norms over dim 1."""
    smallest: float = 0.0
    """The smallest value beside zero, without its sign."""
    leaf: bool = True
    uses: list[Use] = field(default_factory=list)
    reached: bool = False
    """Whether a tensor that comes from it, by whatever trail, was the root of a backward pass that trains."""
    used: bool = False
    second_of: "Source | None" = None
    """The source that this one is the gradient of (second derivatives)."""
    span: tuple[float, float] | None = None
    """The smallest and the largest value of the input itself."""
    drawn: Any = None
    """The random `Draw` that mixed the input of two others."""

    @property
    def samples(self) -> int:
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True, eq=False)
class Reached:
    """An input gradient that a loss depends on, with its graph. effect: ‖∂term/∂θ‖, or None where it was not measured; pull: ‖∂loss/∂g‖."""

    source: Source
    effect: float | None
    pull: float | None


@dataclass(eq=False)
class Step:
    """One step of an optimiser: which calls its gradients come from, with the norm of each share, and the norm of the whole."""

    optimizer: str
    number: int
    site: Site
    shares: dict[GradientCall, float]
    norm: float
    adaptive: bool
    stale: list[GradientCall] = field(default_factory=list)
    """Calls whose gradients an earlier step of the same optimiser had used already."""
    closure: bool = False
    """Whether the optimiser calls the backward passes itself."""
    calls: int = 0
    """How many gradient calls had been made before."""
    tenfold: float | None = None
    """Where every gradient comes from terms on input gradients, and the optimiser is adaptive: how much ten times the gradient changes the update."""
    not_finite: bool = False


@dataclass(frozen=True, eq=False)
class Pass:
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


@dataclass
class Facts:
    """All that a run has shown."""

    calls: list[GradientCall] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    events: list["Event"] = field(default_factory=list)
    measured: dict[Site, float] = field(default_factory=dict)
    """Site of a gradient without a graph -> ‖∂term/∂θ‖ that it would have had with one."""
    failure: BaseException | None = None
    ended_early: bool = False

    @property
    def sources(self) -> Iterator[Source]:
        for call in self.calls:
            yield from call.sources


@dataclass(frozen=True, eq=False)
class Event:
    """Something else that one rule or another wants to know of."""

    name: str
    site: Site
    step: int
    detail: dict[str, Any] = field(default_factory=dict)
