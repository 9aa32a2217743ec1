"""Reverse over forward: ⟨v, g⟩ is the forward-mode derivative of the score along v, and then one ordinary backward pass. Exact.

Nothing is differentiated backward twice, so it serves where a double backward raises for a reason of the machinery (sharded parameters).
Needs a forward-mode derivative for every operation; fused attention has none. Slower than double backward: a rescue.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from inputgrad.derivatives.normalisation import PrimitiveNormalisation
from inputgrad.engines.base import Cotangents, Engine, GradientRequest, Linearization, Traits
from inputgrad.errors import EngineError
from inputgrad.heads import Score
from inputgrad.passes.constants import ConstantsWithoutTangent
from inputgrad.passes.dropout import SameMask
from inputgrad.passes.forward_pass import Change, ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.second_derivative import as_engine_error, check_replay, check_second_derivative
from inputgrad.variables import Key


@dataclass(frozen=True)
class ReverseOverForward(Engine):
    """⟨v, g⟩ = d/dt s(z + tv) at t = 0, by ``torch.func.jvp`` (Pearlmutter 1994, the R-operator, with respect to the input)."""

    name: ClassVar[str] = "reverse_over_forward"
    traits: ClassVar[Traits] = Traits(
        exact=True,
        needs="a forward-mode derivative for every operation of the model",
        passes="3.3 plain steps: forward, backward to the input, a pass with tangents (2 forward) and its backward",
        memory="the graph of the pass, and that of the pass with tangents (twice as large)",
    )

    def linearize(self, request: GradientRequest) -> Linearization:
        forward, score, wrt = request.forward, request.score, request.wrt
        _refuse_fsdp1(forward)
        _refuse_scripted_normalisation(forward.model)
        check_replay(self, forward, score)
        gradient = tuple(part.detach() for part in input_gradient(forward, score, wrt, create_graph=False))

        def extra_passes(v: Cotangents, _c: float) -> Iterator[Tensor]:
            if v[0].dim() == forward.primal().variables[wrt[0]].dim():
                yield _derivative(self, forward, score, None, dict(zip(wrt, v, strict=True)))
                return
            for k in range(v[0].shape[1]):
                directions = dict(zip(wrt, (part[:, k] for part in v), strict=True))
                yield _derivative(self, forward, score, k, directions)

        return Linearization(gradient, extra_passes=extra_passes)


def _derivative(engine: Engine, forward: ForwardPass, score: Score, row: int | None, v: dict[Key, Tensor]) -> Tensor:
    def displaced(*displacements: Tensor) -> Tensor:
        changes: dict[Key, Change] = {key: _added(shift) for key, shift in zip(v, displacements, strict=True)}
        scores = score(forward.run(changes).output)
        return (scores if row is None else scores[:, row]).sum()

    directions = tuple(v.values())
    with as_engine_error(engine, forward, "forward and then backward"):
        with ConstantsWithoutTangent(), PrimitiveNormalisation(), SameMask():
            tangent: Tensor = torch.func.jvp(displaced, tuple(torch.zeros_like(part) for part in directions), directions)[1]
        check_second_derivative(engine, forward, score, [tangent])
    return tangent


def _refuse_fsdp1(forward: ForwardPass) -> None:
    """torch (2.13) ends the process with a fault of memory where a functorch transform meets them."""
    if forward.placement.is_fsdp1:
        raise EngineError(
            "engine 'reverse_over_forward' cannot run a model under FullyShardedDataParallel (FSDP1). engine='finite_difference' serves it; under "
            "fully_shard (FSDP2), its successor, the exact engines do"
        )


def _refuse_scripted_normalisation(model: nn.Module) -> None:
    """A scripted module calls torch's own normalisation, whose forward-mode formula is silently wrong in reverse (`derivatives.normalisation`)."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            graph = str(getattr(module, "inlined_graph", ""))
            hidden = [norm for norm in ("layer_norm", "batch_norm", "instance_norm") if f"aten::{norm}" in graph]
            if hidden:
                raise EngineError(
                    f"engine 'reverse_over_forward': the {hidden[0]} inside {name or 'the model'!r} ({type(module).__name__}: scripted) would be "
                    "differentiated wrongly by torch, and is not seen from outside. engine='double_backward' and engine='finite_difference' serve it"
                )


def _added(displacement: Tensor) -> Change:
    return lambda z: z + displacement
