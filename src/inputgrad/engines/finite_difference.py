"""Finite differences: the parameter gradient of ⟨v, g⟩ from the score at displaced inputs. Approximate, for every model.

    central:     ⟨v, ∂s/∂z⟩ = D(h) + O(h²),   D(h) = (s(z + hv) − s(z − hv)) / 2h
    one-sided:   ⟨v, ∂s/∂z⟩ = (s(z + hv) − s(z)) / h + O(h)        (shares the pass at z)
    Richardson:  ⟨v, ∂s/∂z⟩ = (4·D(h) − D(2h)) / 3 + O(h⁴)         (four displaced passes)

differentiated in the parameters by ordinary backward passes: no operation needs a second derivative. The input gradient itself is not approximated.

The step: h = c·‖z‖/‖v‖, so that the displacement is the fraction c of the input whatever the scale of v. With rounding ε of the pass, a one-sided
difference errs by c·a + 2ε/c (a: the curvature in units of the input), least near c = √ε; a central one by c²·a + ε/c, least near c = ε^(1/3), and half
of that is taken since the curvature of networks is above 1; Richardson's by 4c⁴·a + 1.4ε/c, least near c = (ε/12)^(1/5), of which again half is taken.
In float32 these are 3.5e-4, 2.5e-3 and 1.3e-2. In half precision sums are accumulated in float32, and the rounding of a pass is nearer ε/4: in bfloat16
the fractions are 4.4e-2, 6.2e-2 and 8.7e-2. All six are within a factor of 2 of the best ones measured (docs/engines.md).

Random draws, buffers and branch decisions are those of the pass at z (`score_at_displacement`). Without the branches a ReLU network's result is wrong by
several times its own size, since a unit that changes side jumps by O(1), which is divided by h.

Two passes in all: where s is the sample's own base loss and the base loss is c·Σs (c = 1/N for a mean), one backward pass at z gives both g and
G = ∂Σs/∂θ, and with G' = ∂Σs(z + hv)/∂θ the gradient of the whole loss is (c − 1/h)·G + G'/h; for the other schemes c·G and the displaced passes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from inputgrad.engines.base import Cotangents, Engine, GradientRequest, KnownGradients, Linearization, Share, Traits
from inputgrad.engines.difference_error import by_doubling, estimated_error, parameter_gradient
from inputgrad.errors import EngineError, nearest
from inputgrad.heads import Score
from inputgrad.passes.branches.tape import BranchTape
from inputgrad.passes.displaced import FrozenBranches, Norms, check_run_again, score_at_displacement, sum_of_scores
from inputgrad.passes.first_derivative import check_first_derivative, step_refinement
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.in_chunks import sketch
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.joint_gradients import input_and_parameter_gradients
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.rounding import HALF, dtypes_inside, rounding
from inputgrad.variables import Key

Scheme = Literal["central", "one_sided", "richardson"]
PASSES: dict[str, tuple[tuple[int, float], ...]] = {
    "one_sided": ((1, 1.0),),
    "central": ((1, 1 / 2), (-1, -1 / 2)),
    "richardson": ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12)),
}
"""Scheme -> its displaced passes: the multiple of h, and what its score is multiplied by, over h."""
SamePass = Callable[[Cotangents], Tensor]
ExtraPasses = Callable[[Cotangents, float], Iterator[Share]]
Asks = Callable[[Cotangents], Norms]
ERROR_ORDER = {"one_sided": 1, "central": 2, "richardson": 4}
"""Scheme -> k, where its error is of order h^k."""


@dataclass(frozen=True)
class FiniteDifference(Engine):
    """Differences of the score along v.

    scheme: "central" (two displaced passes, error O(h²)), "one_sided" (one displaced pass, error O(h)) or "richardson" (four, error O(h⁴)).
    strict: refuse a model with branch decisions that cannot be replayed, where otherwise one warning names the module.
    step: c, the displacement as a fraction of the input's norm; None takes it from the precision of the pass (see the module's text).

    step_factor: multiplies the step, whichever it is.

    `estimate` tells the error of the terms' parameter gradient on a batch.
    """

    scheme: Scheme = "central"
    step: float | None = None
    strict: bool = False
    step_factor: float = field(default=1.0, repr=False, kw_only=True)

    name: ClassVar[str] = "finite_difference"
    traits: ClassVar[Traits] = Traits(
        exact=False,
        needs="first derivatives only; branch decisions that torch's functions take from Python",
        passes="3.7 plain steps (central), 2.7 (one-sided), 5.7 (Richardson); 3, 2, 5 by criterion.backward(...) where base loss and term share a pass",
        memory="the graph of one pass, with criterion.backward(...); of all passes at once, with loss.backward()",
        takes_base_loss=True,
    )

    def __post_init__(self) -> None:
        if self.scheme not in PASSES:
            raise ValueError(f"FiniteDifference: scheme={self.scheme!r}: {nearest(self.scheme, PASSES)}")
        if self.step is not None and not 0 < self.step < 1:
            raise ValueError(f"FiniteDifference: step must be a fraction of the input's norm, between 0 and 1, or None; got {self.step}")

    def pass_options(self, model: nn.Module) -> PassOptions:
        return PassOptions(tape=BranchTape())

    def linearize(self, request: GradientRequest) -> Linearization:
        scored = self._scored(request)
        shared = self._with_base_loss(request, scored) if request.base_loss_offered and request.immediate else None
        return shared or self._by_itself(request, scored)

    def _scored(self, request: GradientRequest) -> FrozenBranches:
        """The score with its own branch decisions kept, once the model is known to give the same output again."""
        check_run_again(self, request.forward, request.score, strict=self.strict)
        return FrozenBranches(request.score)

    def _by_itself(self, request: GradientRequest, scored: FrozenBranches) -> Linearization:
        forward = request.forward
        forward.may_free_graph = request.lean and self.scheme != "one_sided"
        gradient = tuple(part.detach() for part in input_gradient(forward, scored, request.wrt, create_graph=False))
        if forward.may_free_graph:
            forward.free_graph()
        self._check(request, scored, gradient)
        return Linearization(gradient, *self._shares(request, scored))

    def _check(self, request: GradientRequest, scored: FrozenBranches, gradient: Sequence[Tensor]) -> None:
        dtypes = self._dtypes(request.forward, request.score)
        check_first_derivative(self, request.forward, request.score, scored, dict(zip(request.wrt, gradient, strict=True)), rounding(dtypes))

    def _shares(self, request: GradientRequest, scored: FrozenBranches) -> tuple[SamePass | None, ExtraPasses, Asks]:
        forward, wrt = request.forward, request.wrt
        here = scored(forward.values().output)
        numbers, zero = (range(here.shape[1]) if here.dim() == 2 else (None,)), here.new_zeros(())
        primal_scores = scored(forward.primal().output) if self.scheme == "one_sided" else None  # its graph is not held without need
        dtypes = self._dtypes(forward, request.score)

        def directions(v: Cotangents) -> list[dict[Key, Tensor]]:
            return [dict(zip(wrt, (part if row is None else part[:, row] for part in v), strict=True)) for row in numbers]

        @lru_cache(maxsize=1)
        def norms(v: Cotangents) -> Norms:
            return _norms(forward, directions(v))

        def rows(v: Cotangents) -> Iterator[tuple[int | None, dict[Key, Tensor], float]]:
            return zip(numbers, directions(v), self._steps(forward, norms(v), dtypes, request.score), strict=True)

        def same_pass(v: Cotangents) -> Tensor:
            shares = [sum_of_scores(primal_scores, row) / -h for row, _, h in rows(v) if h] if primal_scores is not None else []
            return torch.stack(shares).sum() if shares else zero

        def extra_passes(v: Cotangents, _c: float) -> Iterator[Share]:
            if request.immediate:
                forward.let_go()
            for row, direction, h in rows(v):
                for multiple, weight in PASSES[self.scheme] if h or forward.placement.is_fsdp else ():  # shards are gathered by all processes or by none
                    yield score_at_displacement(forward, scored, direction, multiple * h, row) * (weight / h if h else 0.0)

        return (same_pass if self.scheme == "one_sided" else None), extra_passes, norms

    def _with_base_loss(self, request: GradientRequest, scored: FrozenBranches) -> Linearization | None:
        """One backward pass at z for both g and G, where all leaf gradients are collected at once; None where that is not possible."""
        forward, dtypes = request.forward, self._dtypes(request.forward, request.score)
        both = input_and_parameter_gradients(forward, scored(forward.primal().output), request.wrt)
        if both is None:
            return None
        if forward.may_free_graph:
            forward.free_graph()
        self._check(request, scored, both.inputs)

        @lru_cache(maxsize=1)
        def norms(v: Cotangents) -> Norms:
            return _norms(forward, [dict(zip(request.wrt, v, strict=True))])

        def extra_passes(v: Cotangents, c: float) -> Iterator[Share]:
            forward.free_graph()
            directions = dict(zip(request.wrt, v, strict=True))
            (h,) = self._steps(forward, norms(v), dtypes, request.score)
            yield KnownGradients(both.times(c - 1 / h if h and self.scheme == "one_sided" else c))
            for multiple, weight in PASSES[self.scheme] if h else ():
                yield score_at_displacement(forward, scored, directions, multiple * h) * (weight / h)

        return Linearization(both.inputs, extra_passes=extra_passes, asks=norms, takes_base_loss=True)

    def estimate(self, criterion: Any, model: nn.Module, inputs: Any, target: Any = None) -> float:
        """The relative error of the terms' parameter gradient on this batch, from that at the doubled step. Sets no ``.grad``.

        criterion: an `InputGradientLoss`. See `engines.difference_error`.
        """
        narrow, wide = (replace(self, step_factor=factor * self.step_factor) for factor in (1.0, 2.0))
        return estimated_error(criterion, narrow, wide, ERROR_ORDER[self.scheme], model, inputs, target)

    def tried(self, request: GradientRequest, linearization: Linearization) -> float | None:
        """The error for v along g, from that at twice the step. Raises `EngineError` where it is a large part of the gradient itself."""
        forward = request.forward
        if forward.placement.is_fsdp or forward.placement.is_fsdp1:  # no gradients to be had apart from the shares
            return super().tried(request, linearization)
        forward.let_go()
        scored = FrozenBranches(request.score)
        v = tuple(part if bool(part.any()) else torch.ones_like(part) for part in linearization.gradient)
        doubled = Linearization(linearization.gradient, *replace(self, step_factor=2 * self.step_factor)._shares(request, scored))
        narrow, wide = ([sketch(part) for part in parameter_gradient(forward, at_step, v)] for at_step in (linearization, doubled))
        error = by_doubling(narrow, wide, ERROR_ORDER[self.scheme])
        if not error <= (_USABLE if rounding(self._dtypes(forward, request.score)) < HALF else _USABLE_IN_HALF):
            raise EngineError(
                f"engine {self.name!r} is off by about {error:.0%} of the parameter gradient, measured at twice the step: the model has branches that cannot "
                "be replayed, rounds in a place that is not seen, or bends within the step"
            )
        return error

    def _dtypes(self, forward: ForwardPass, score: Score) -> set[torch.dtype]:
        """The types that the pass goes through."""
        here = forward.values()
        dtypes = {tensor.dtype for tensor in (here.output, *here.variables.values())} | dtypes_inside(self, forward, score)
        if torch.is_autocast_enabled(here.output.device.type):
            dtypes.add(torch.get_autocast_dtype(here.output.device.type))
        return dtypes

    def _steps(self, forward: ForwardPass, norms: Norms, dtypes: Iterable[torch.dtype], score: Score) -> list[float]:
        """h for each row of directions; 0 where they are zero."""
        size, lengths = norms.of_inputs_and_rows()
        if not any(lengths):
            return lengths
        if size == 0:  # a virtual zero variable, such as a strain: its unit is 1
            size = norms.numel**0.5
        refinement = step_refinement(forward, score) if self.step is None else 1.0
        unit = self.step_factor * refinement * self._fraction(dtypes) * size
        return [unit / length if length else 0.0 for length in lengths]

    def _fraction(self, dtypes: Iterable[torch.dtype]) -> float:
        if self.step is not None:
            return self.step
        e = rounding(dtypes)
        return {"one_sided": e**0.5, "central": e ** (1 / 3) / 2, "richardson": (e / 12) ** (1 / 5) / 2}[self.scheme]


def _norms(forward: ForwardPass, rows: list[dict[Key, Tensor]]) -> Norms:
    here = forward.values()
    return Norms([here.variables[key].detach() for key in rows[0]], [list(v.values()) for v in rows])


_USABLE, _USABLE_IN_HALF = 0.05, 0.5
"""The largest error of the gradient at which ``auto`` takes differences."""
