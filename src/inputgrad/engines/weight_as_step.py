"""The weight as the step: base loss and terms by ONE ordinary gradient, at inputs displaced by the terms' own weight. Approximate, and says so.

Where the base loss is c·Σ_n s_n with c = 1/N, and the terms depend on g_n = ∂s_n/∂x_n alone, the gradient of the whole loss is

    ∂θ(c·Σs(x)) + ∂θ⟨v, g⟩,        v_n = ∂(Σ w·R)/∂g_n = (w/N)·R'(g_n)

A one-sided difference of step h makes of it (c − 1/h)·∂θΣs(x) + (1/h)·∂θΣs(x + hv). The step h = 1/c = N makes the first part vanish:

    c·∂θΣ_n s_n(x_n + N·v_n)  =  ∂θ mean_n s_n(x_n + w·R'(g_n))        for w·‖g‖²: x_n + 2w·g_n

so the pass at x is needed for g alone, and the parameters for one pass: 5 units (2 forward, 1 backward to the inputs, 1 to inputs and parameters), where a
plain step has 3 and a one-sided difference 6.

The error: with δ = w·R'(g), the next order of Taylor's series, mean_n ½·∂θ(δᵀ·∂²s/∂x²·δ), is O(w²), where the term is O(w): relative to the term, the
error grows as the weight does, w·‖∂²s/∂x²‖ for a squared norm. It is small where the displacement is: 2e-3 to 1e-2 of the term's own gradient at weight 1
on fresh smooth networks, and no step makes it smaller. Displacements above a tenth of the input get one warning per model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from torch import Tensor, nn

from inputgrad.engines.base import Cotangents, Engine, GradientRequest, Linearization, Traits
from inputgrad.errors import EngineError, warn
from inputgrad.memory import memory
from inputgrad.passes.branches.tape import BranchTape
from inputgrad.passes.displaced import FrozenBranches, Norms, check_run_again, score_at_displacement
from inputgrad.passes.first_derivative import check_first_derivative
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.rounding import dtypes_inside, rounding

_ONE_GRADIENT_ALONE = (
    "engine 'weight_as_step' supports one input gradient alone: of=\"loss\", at the batch's own inputs, on the whole batch, with a base loss that is "
    "a multiple of the sum of the samples' own losses (a mean). Only there does the base loss's gradient "
    "cancel against that of the difference; here it does not (the score is {head}). Take engine='finite_difference' or an exact one"
)
_LARGE = "large displacement"


@dataclass(frozen=True)
class WeightAsStep(Engine):
    """∂θ[base + terms] ≈ ∂θ mean_n s_n(x_n + w·R'(g_n)), for terms on the gradient of the loss; the error relative to the term is O(weight).

    largest: the displacement, as a fraction of the input's norm, above which one warning per model says that the weight is a coarse step.
    strict: refuse a model with branch decisions that cannot be replayed, where otherwise one warning names the module.
    """

    largest: float = 0.1
    strict: bool = False

    name: ClassVar[str] = "weight_as_step"
    traits: ClassVar[Traits] = Traits(
        exact=False,
        needs='terms on the gradient of="loss" alone; a base loss that is the mean of the samples\' own; branches as finite_difference',
        passes="1.7 plain steps: forward, backward to the input, and one step at the displaced inputs",
        memory="the graph of one pass",
        takes_base_loss=True,
    )

    def __post_init__(self) -> None:
        if not self.largest > 0:
            raise ValueError(f"WeightAsStep: largest must be a positive fraction of the input's norm; got {self.largest}")

    def pass_options(self, model: nn.Module) -> PassOptions:
        return PassOptions(tape=BranchTape())

    def linearize(self, request: GradientRequest) -> Linearization:
        if not request.base_loss_offered:
            raise EngineError(_ONE_GRADIENT_ALONE.format(head=request.score.head))
        forward, wrt = request.forward, request.wrt
        check_run_again(self, forward, request.score, strict=self.strict)
        scored = FrozenBranches(request.score)
        here = forward.values()
        dtypes = dtypes_inside(self, forward, request.score) | {tensor.dtype for tensor in (here.output, *here.variables.values())}
        gradient = tuple(part.detach() for part in input_gradient(forward, scored, wrt, create_graph=False))
        check_first_derivative(self, forward, request.score, scored, dict(zip(wrt, gradient, strict=True)), rounding(dtypes))
        if forward.may_free_graph:
            forward.free_graph()

        @lru_cache(maxsize=1)
        def norms(v: Cotangents) -> Norms:
            if _LARGE in memory(forward.model).warned:
                return Norms([], [])
            return Norms([here.variables[key].detach() for key in wrt], [list(v)])

        def extra_passes(v: Cotangents, c: float) -> Iterator[Tensor]:
            forward.free_graph()
            if c == 0:
                raise EngineError("engine 'weight_as_step' needs a base loss that pulls at the output: here its gradient is zero")
            directions = dict(zip(wrt, v, strict=True))
            self._tell_if_large(forward, norms(v), c)
            yield c * score_at_displacement(forward, scored, directions, 1 / c)

        return Linearization(gradient, extra_passes=extra_passes, asks=norms, takes_base_loss=True)

    def _tell_if_large(self, forward: ForwardPass, norms: Norms, c: float) -> None:
        size, moved = norms.of_inputs_and_rows()
        fraction = moved[0] / abs(c) / size if size and moved else 0.0
        if fraction > self.largest and memory(forward.model).once(_LARGE):
            warn(
                f"engine 'weight_as_step': the weight of the terms displaces the inputs by {fraction:.0%} of their norm, a coarse step: the error of the "
                "terms' gradient may be as large as itself. Take a smaller weight, or engine='finite_difference'"
            )
