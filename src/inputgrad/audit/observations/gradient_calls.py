"""One gradient that was taken: what was asked for, what was differentiated, the graph behind it, and what became of it. Records alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from inputgrad.audit.call_sites import Site

if TYPE_CHECKING:
    from inputgrad.audit.observations.tensor_origins import DeadTerm, LiveTerm, Operation


@dataclass(frozen=True)
class Request:
    """What was asked for, and under which modes. transform: of torch.func, by which it came; "" where by none."""

    create_graph: bool = False
    retain_graph: bool = False
    grad_enabled: bool = True
    inference: bool = False
    """Whether ``inference_mode`` was on, or what was differentiated was made under it."""
    allow_unused: bool = False
    materialize: bool = False
    inputs_given: bool = False
    transform: str = ""


@dataclass(frozen=True)
class Root:
    """What was differentiated."""

    requires_grad: bool
    unrecorded: bool = False
    """Whether it was computed while gradients were off."""
    mean_over: int | None = None
    """N, where it is a mean over N samples."""
    summed_outputs: int | None = None
    """C, where it is the plain sum of a tensor of C > 1 outputs per sample."""
    scale: float = 1.0
    """What a GradScaler multiplied it by."""
    scaled: bool = False
    """Whether it is a scaled loss (GradScaler)."""
    derivative: bool = False
    """Whether it comes from an input gradient itself."""
    values: tuple[int, ...] = ()
    """The shape of what was summed or averaged into it; its own where it is not a sum."""
    values_by: str = ""
    """The name of the node in the graph that made those values."""


@dataclass(frozen=True, eq=False)
class GraphBehind:
    """The graph between the root and the inputs or parameters, as it stood before the pass."""

    half: bool = False
    """Whether a float16 value lies there."""
    obstacles: frozenset[str] = frozenset()
    """What may have no second derivative: "attention", "compiled", "checkpoint", or "once:" and the name of a once_differentiable Function."""
    nodes: int = 0
    """How many nodes lie behind the root, where the graph is kept."""
    batch_norm_training: bool = False
    """Whether batch normalisation in training mode lies there."""
    coupling: float | None = None
    """The share of the first sample's gradient, in norm, that lies in the other samples' inputs; measured where normalisation may couple them."""
    hooked: bool = False
    """Whether a module's backward hook is called on the way."""
    mixed: float | None = None
    """Of a derivative of several columns that are differentiated together by an input of as many: by how much, relative to them, what comes out differs from
    the derivative of each column by its own variable; measured at the first calls of a line."""
    cut_in: str = ""
    """The name of an autograd.Function whose backward has no graph, where the gradient was to keep one; measured at the first call of a line."""
    live_terms: tuple[LiveTerm, ...] = ()
    dead_terms: tuple[DeadTerm, ...] = ()
    alone: bool = False
    """Whether it comes to parameters by way of input gradients only: a term without the loss."""
    reaches: frozenset[int] = frozenset()
    """The identities of the leaves that lie behind it."""
    entries: frozenset[int] = frozenset()
    """The numbers of the nodes that take what is differentiated by: two gradients of one forward pass have some in common."""
    shared_with: tuple[GradientCall, ...] = ()
    """Earlier calls whose root lies in this graph."""
    kept_in_parameters: int = 0
    """How many parameters' ``.grad`` carried the graph of an earlier pass when this one began."""


@dataclass(eq=False)
class Fate:
    """What came of it, filled as the run goes on."""

    error: str | None = None
    wanted: int = 0
    """How many gradients were asked for of tensors that are not trained."""
    missing: int = 0
    """How many of these came back as None, or as zeros made up."""
    entries_cut: int = 0
    """How many entries to tensor parallelism ended the graph that was to be kept."""
    contributions: dict[int, Tensor] = field(default_factory=dict)
    """What it added to each parameter's ``.grad``, by the parameter's identity, until that is stepped or thrown away."""
    contributed: float = 0.0
    """The norm of all that it added to parameters."""
    not_finite: bool = False
    stepped: bool = False
    discarded_by: Site | None = None
    """The line that emptied the ``.grad`` it had filled, where no step had used it."""
    input_gradient_read: bool = False
    parameter_gradient_read: bool = False


@dataclass(frozen=True, eq=False)
class GradientCall:
    """One ``backward`` or ``autograd.grad``, or one that raised. number: how many came before; step: in which step of the optimiser."""

    kind: Literal["backward", "grad"]
    site: Site
    number: int
    step: int
    request: Request
    root: Root
    graph: GraphBehind = field(default_factory=GraphBehind)
    fate: Fate = field(default_factory=Fate)
    input_gradients: list[InputGradient] = field(default_factory=list)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the values of an input gradient."""

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


@dataclass(eq=False)
class InputGradient:
    """One input gradient: its call, what it is the gradient of, and what was done with it."""

    call: GradientCall
    site: Site
    shape: tuple[int, ...]
    requires_grad: bool
    dtype: str
    sizes: Sizes
    sum_of: tuple[GradientCall, ...] = ()
    """The backward passes that its values are the sum of, where it was read off ``.grad``; the last is its own."""
    second_of: InputGradient | None = None
    """The input gradient that this one is the gradient of (second derivatives)."""
    span: tuple[float, float] | None = None
    """The smallest and the largest value of the input itself."""
    by_leaf: bool = False
    """Whether the input is a leaf of the graph."""
    of_weights: bool = False
    """Whether the input was itself computed from weights: features, actions, generated images."""
    drawn: Any = None
    """The `RandomDraw` that mixed the input of two others."""
    operations: list[Operation] = field(default_factory=list)
    reached: bool = False
    """Whether a tensor that comes from it, with its graph or without, was the root of a backward pass."""
    used: bool = False

    @property
    def samples(self) -> int:
        return self.shape[0] if self.shape else 1
