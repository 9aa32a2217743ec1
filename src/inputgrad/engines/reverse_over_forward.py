"""Reverse over forward: ⟨v, g⟩ is the forward-mode derivative of the score along v, and then one ordinary backward pass. Exact.

Nothing is differentiated backward twice, so it works where a double backward raises for a reason of the machinery (sharded parameters).
Needs a forward-mode derivative for every operation, or two backward passes to make one from (`passes.forward_mode_check`); fused attention has neither.
Slower than double backward: a rescue.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from inputgrad.derivatives.forward_mode import ForwardModeDerivatives
from inputgrad.devices import joint_length, numbers, wide
from inputgrad.engines.base import Cotangents, Engine, GradientRequest, Linearization, Traits
from inputgrad.errors import EngineError
from inputgrad.heads import Score
from inputgrad.passes.changes import Change
from inputgrad.passes.constants import ConstantsWithoutTangent
from inputgrad.passes.displaced import input_norm
from inputgrad.passes.forward_mode_check import ForwardModeCheck
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.scripted import scripts_by_backward
from inputgrad.passes.second_derivative import as_engine_error, check_replay, check_second_derivative, is_checked
from inputgrad.torch_internals import fsdp
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
        _refuse_fsdp2_before_its_support(forward)
        with ForwardModeCheck():
            check_replay(self, forward, score, differentiated=True)
        gradient = tuple(part.detach() for part in input_gradient(forward, score, wrt, create_graph=False))

        def extra_passes(v: Cotangents, _c: float) -> Iterator[Tensor]:
            if v[0].dim() == forward.primal().variables[wrt[0]].dim():
                yield _derivative(self, forward, score, None, dict(zip(wrt, v, strict=True)), gradient)
                return
            for k in range(v[0].shape[1]):
                directions = dict(zip(wrt, (part[:, k] for part in v), strict=True))
                yield _derivative(self, forward, score, k, directions, tuple(part[:, k] for part in gradient))

        return Linearization(gradient, extra_passes=extra_passes)


def _derivative(engine: Engine, forward: ForwardPass, score: Score, row: int | None, v: dict[Key, Tensor], gradient: Cotangents) -> Tensor:
    def displaced(*displacements: Tensor) -> Tensor:
        changes: dict[Key, Change] = {key: _added(shift) for key, shift in zip(v, displacements, strict=True)}
        scores = score(forward.run(changes).output)
        return (scores if row is None else scores[:, row]).sum()

    directions = tuple(v.values())
    with as_engine_error(engine, forward, "forward and then backward"):
        with ConstantsWithoutTangent(), ForwardModeDerivatives(), scripts_by_backward(forward.model):
            tangent: Tensor = torch.func.jvp(displaced, tuple(torch.zeros_like(part) for part in directions), directions)[1]
        if not is_checked(engine, forward, score):
            _check_value(forward, tangent, v, gradient)
        check_second_derivative(engine, forward, score, [tangent])
    return tangent


def _check_value(forward: ForwardPass, tangent: Tensor, v: dict[Key, Tensor], gradient: Cotangents) -> None:
    """Raise `EngineError` where the backward pass gave another ⟨v, g⟩ than forward mode: then it does not follow the derivative of the forward pass."""
    here, directions = forward.primal(), list(v.values())
    expected = sum(numbers([wide(part * g).sum() for part, g in zip(directions, gradient, strict=True)]))
    off, length = abs(float(tangent.detach()) - expected), joint_length(directions)
    size = input_norm([here.variables[key].detach() for key in v]) or 1.0
    rounding = 100 * torch.finfo(tangent.dtype).eps * joint_length([here.output.detach()]) / size
    if off > length * max(_allowed(tangent) * joint_length(list(gradient)), rounding):
        raise EngineError(
            f"engine 'reverse_over_forward': {type(forward.model).__name__} changes its gradients in the backward pass, which forward mode does not run: "
            f"the one gives ⟨v, g⟩ = {expected:.3g}, the other {float(tangent.detach()):.3g}. Looked for are hooks on tensors (register_hook) or modules "
            "(register_full_backward_hook) that return another gradient, and an autograd.Function whose jvp and backward disagree. "
            "engine='double_backward' runs what the backward pass runs"
        )


def _allowed(tangent: Tensor) -> float:
    """The largest relative difference that rounding may make, inside a model that may compute in a lower precision than it returns."""
    if tangent.dtype.itemsize == 2 or torch.is_autocast_enabled(tangent.device.type):
        return 0.1
    return 1e-3 if tangent.dtype is torch.float64 else 1e-2


def _refuse_fsdp1(forward: ForwardPass) -> None:
    """torch (2.13) ends the process with a fault of memory where a functorch transform meets them."""
    if forward.placement.is_fsdp1:
        raise EngineError(
            "engine 'reverse_over_forward' cannot run a model under FullyShardedDataParallel (FSDP1). engine='finite_difference' supports it; under "
            "fully_shard (FSDP2), its successor, the exact engines do"
        )


def _refuse_fsdp2_before_its_support(forward: ForwardPass) -> None:
    """torch before 2.13 gives each process its own gradient in place of their average, and says nothing."""
    if forward.placement.is_fsdp and not fsdp.works_under_transforms():
        raise EngineError(
            f"engine 'reverse_over_forward' cannot run a model under fully_shard in torch {torch.__version__}: before torch 2.13, fully_shard does not "
            "average the gradients of torch.func.jvp over the processes. engine='double_backward' is exact, and holds all parameters whole during the "
            "step; engine='finite_difference' is approximate, and leaves them sharded"
        )


def _added(displacement: Tensor) -> Change:
    return lambda z: z + displacement
