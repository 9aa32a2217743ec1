"""Finite differences: the parameter gradient of ⟨v, g⟩ from the score at displaced inputs. Approximate, and every model serves.

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

Two passes in all (`joint`): where s is the sample's own base loss and the base loss is c·Σs (c = 1/N for a mean), one backward pass at z gives both g and
G = ∂Σs/∂θ, and with G' = ∂Σs(z + hv)/∂θ the gradient of the whole loss is (c − 1/h)·G + G'/h; for the other schemes c·G and the displaced passes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from inputgrad.distributed.fsdp import fsdp_modules
from inputgrad.engines.base import Cotangents, Engine, Joint, Linearization, Traits
from inputgrad.errors import nearest
from inputgrad.heads import Score
from inputgrad.passes.branches.tape import BranchTape
from inputgrad.passes.displaced import FrozenBranches, joint_norm, refuse_hidden_branches, score_at_displacement, sum_of_scores
from inputgrad.passes.forward_pass import ForwardPass, PassOptions
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.joint_gradients import input_and_parameter_gradients
from inputgrad.passes.second_derivative import check_replay
from inputgrad.variables import Key

Scheme = Literal["central", "one_sided", "richardson"]
PASSES: dict[str, tuple[tuple[int, float], ...]] = {
    "one_sided": ((1, 1.0),),
    "central": ((1, 1 / 2), (-1, -1 / 2)),
    "richardson": ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12)),
}
"""Scheme -> its displaced passes: the multiple of h, and what its score is multiplied by, over h."""


@dataclass(frozen=True)
class FiniteDifference(Engine):
    """Differences of the score along v.

    scheme: "central" (two displaced passes, error O(h²)), "one_sided" (one displaced pass, error O(h)) or "richardson" (four, error O(h⁴)).
    strict: refuse a model with branch decisions that cannot be replayed, where otherwise one warning names the module.
    step: c, the displacement as a fraction of the input's norm; None takes it from the precision of the pass (see the module's text).

    `estimate` tells the error of the terms' parameter gradient on a batch.
    """

    scheme: Scheme = "central"
    step: float | None = None
    strict: bool = False

    name: ClassVar[str] = "finite_difference"
    traits: ClassVar[Traits] = Traits(
        exact=False,
        needs="first derivatives only; branch decisions that torch's functions take from Python",
        passes="3.7 plain steps (central), 2.7 (one-sided), 5.7 (Richardson); 3, 2, 5 by criterion.backward(...) where base loss and term share a pass",
        memory="the graph of one pass, with criterion.backward(...); of all passes at once, with loss.backward()",
    )

    def __post_init__(self) -> None:
        if self.scheme not in PASSES:
            raise ValueError(f"FiniteDifference: scheme={self.scheme!r}: {nearest(self.scheme, PASSES)}")
        if self.step is not None and not 0 < self.step < 1:
            raise ValueError(f"FiniteDifference: step must be a fraction of the input's norm, between 0 and 1, or None; got {self.step}")

    def pass_options(self, model: nn.Module) -> PassOptions:
        return PassOptions(tape=BranchTape())

    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        scored = self._scored(forward, score)
        gradient = tuple(part.detach() for part in input_gradient(forward, scored, wrt, create_graph=False))
        scores_here = scored(forward.primal().output)
        several = scores_here.dim() == 2

        def rows(v: Cotangents) -> Iterator[tuple[int | None, dict[Key, Tensor], float]]:
            for row in range(scores_here.shape[1]) if several else (None,):
                directions = dict(zip(wrt, (part if row is None else part[:, row] for part in v), strict=True))
                yield row, directions, self._step(forward, directions)

        def here(v: Cotangents) -> Tensor:
            shares = [sum_of_scores(scores_here, row) / -h for row, _, h in rows(v) if h]
            return torch.stack(shares).sum() if shares else scores_here.new_zeros(())

        def elsewhere(v: Cotangents) -> Iterator[Tensor]:
            for row, directions, h in rows(v):
                for multiple, weight in PASSES[self.scheme] if h or fsdp_modules(forward.model) else ():  # shards are gathered by all processes or by none
                    yield score_at_displacement(forward, scored, directions, multiple * h, row) * (weight / h if h else 0.0)

        return Linearization(gradient, here if self.scheme == "one_sided" else None, elsewhere)

    def joint(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...], *, at_once: bool) -> Linearization | None:
        """Where the caller goes on to all leaves at once, the backward pass at z is one for g and G."""
        if not at_once:
            return None
        scored = self._scored(forward, score)
        found = input_and_parameter_gradients(forward, scored(forward.primal().output), wrt)
        if found is None:
            return None
        if forward.may_free_graph:
            forward.free_graph()

        def joined(v: Cotangents, c: float) -> Joint:
            forward.free_graph()
            directions = dict(zip(wrt, v, strict=True))
            h = self._step(forward, directions)
            passes = PASSES[self.scheme] if h else ()
            shares = (score_at_displacement(forward, scored, directions, multiple * h) * (weight / h) for multiple, weight in passes)
            return Joint(found.times(c - 1 / h if h and self.scheme == "one_sided" else c), shares)

        return Linearization(found.inputs, joined=joined)

    def estimate(self, criterion: Any, model: nn.Module, inputs: Any, target: Any = None) -> float:
        """The relative error of the terms' parameter gradient on this batch, from that at the doubled step. Sets no ``.grad``; see `estimates`."""
        from inputgrad.diagnosis.difference_error import estimated_error  # it stands above the engines

        return estimated_error(self, criterion, model, inputs, target)

    def _scored(self, forward: ForwardPass, score: Score) -> FrozenBranches:
        forward.record_branches()
        check_replay(self, forward, score)
        refuse_hidden_branches(self.name, forward, strict=self.strict)
        return FrozenBranches(score)

    def _step(self, forward: ForwardPass, v: dict[Key, Tensor]) -> float:
        here = forward.values()
        variables = [here.variables[key].detach() for key in v]
        size, length = joint_norm(variables), joint_norm(list(v.values()))
        if length == 0:
            return 0.0
        if size == 0:  # a virtual zero variable, such as a strain: its unit is 1
            size = sum(z.numel() for z in variables) ** 0.5
        return self._fraction(here.output, variables) * size / length

    def _fraction(self, output: Tensor, variables: list[Tensor]) -> float:
        if self.step is not None:
            return self.step
        dtypes = [tensor.dtype for tensor in (output, *variables)]
        if torch.is_autocast_enabled(output.device.type):
            dtypes.append(torch.get_autocast_dtype(output.device.type))
        rounding = max(map(_rounding, dtypes))
        fractions = {"one_sided": rounding**0.5, "central": rounding ** (1 / 3) / 2, "richardson": (rounding / 12) ** (1 / 5) / 2}
        return fractions[self.scheme]


def _rounding(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / (4 if dtype.itemsize == 2 else 1)
