"""The choice of an engine: by name, by object, or by what the model allows (``"auto"``)."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from inputgrad.distributed.placement import Placement
from inputgrad.engines.base import Engine, GradientRequest, Linearization, Traits
from inputgrad.engines.double_backward import DoubleBackward
from inputgrad.engines.finite_difference import FiniteDifference
from inputgrad.engines.reverse_over_forward import ReverseOverForward
from inputgrad.errors import EngineError, warn
from inputgrad.memory import memory
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.second_derivative import model_fingerprint
from inputgrad.passes.uncompiled import compiled_part
from inputgrad.torch_internals import fsdp


@dataclass(frozen=True)
class Auto(Engine):
    """Double backward where the model allows it; else the exact engine that works; else differences, where branch decisions can be replayed.

    Of a model under ``fully_shard`` the first is reverse over forward, which leaves it sharded (from torch 2.13 on). One warning per model names what stood in
    the way of double backward and what was taken.
    """

    name: ClassVar[str] = "auto"
    traits: ClassVar[Traits] = Traits(
        exact=False,
        needs="what the engine that it takes needs; exact unless it says otherwise",
        passes="those of the engine that it takes",
        memory="that of the engine that it takes",
    )

    def pass_options(self, model: nn.Module) -> PassOptions:
        taken = engine_taken_before(model)
        return taken.pass_options(model) if taken is not None else replace(DoubleBackward().pass_options(model), whole=not Placement(model).is_fsdp)

    def linearize(self, request: GradientRequest) -> Linearization:
        request = replace(request, base_loss_offered=False)
        taken = engine_taken_before(request.model)
        if taken is not None:
            return taken.linearize(request)
        first, *others = engine_order(request.model)
        try:
            linearization = first.linearize(request)
            if isinstance(first, DoubleBackward):
                _tell_uncompiled(request.model)
                _tell_gathered(request.model)
                return linearization
            first.tried(request, linearization)
            warn(f"{_SHARDED}; name one with engine= to silence this warning")
            engine = first
        except EngineError as error:
            engine, linearization = _rescue(request, others, error)
        memory(request.model).engine = (model_fingerprint(request.model), engine)
        return linearization


_SHARDED = (
    "the model is sharded by fully_shard, and engine='auto' takes 'reverse_over_forward' (exact), which leaves it so; engine='double_backward' is exact and "
    "faster, and holds all parameters whole during the step"
)
_GATHERED = (
    "the model is sharded by fully_shard, and engine='auto' takes 'double_backward' (exact), which holds all parameters whole during the step, since "
    "'reverse_over_forward', which leaves it sharded, needs torch 2.13; engine='finite_difference' (approximate) leaves it sharded too; name one with "
    "engine= to silence this warning"
)


def engine_order(model: nn.Module) -> tuple[Engine, ...]:
    """The engines that "auto" tries for a model, in this order."""
    last = FiniteDifference(strict=True)
    stays_sharded = Placement(model).is_fsdp and fsdp.works_under_transforms()
    return (ReverseOverForward(), DoubleBackward(), last) if stays_sharded else (DoubleBackward(), ReverseOverForward(), last)


def engine_taken_before(model: nn.Module) -> Engine | None:
    """The engine that "auto" took for this model in place of double backward, in an earlier step; None where it took none."""
    taken = memory(model).engine
    if taken is None:
        return None
    form, engine = taken
    known: Engine | None = engine if form == model_fingerprint(model) else None
    return known


def _rescue(request: GradientRequest, others: Sequence[Engine], reason: EngineError) -> tuple[Engine, Linearization]:
    refusals = [str(reason)]
    _let_go(reason)
    for engine in others:
        try:
            linearization = engine.linearize(request)
            error = engine.tried(request, linearization)
        except EngineError as refusal:
            refusals.append(str(refusal))
            _let_go(refusal)
            continue
        measured = "" if error is None else f": on this batch off by about {error:.0e} of the term's own gradient"
        how = "exact" if engine.traits.exact else f"approximate{measured}"
        warn(f"{reason} engine='auto' takes '{engine.name}' ({how}); name it with engine= to silence this warning")
        return engine, linearization
    raise EngineError("no engine supports this model. " + " ".join(refusals)) from reason


def _let_go(refusal: BaseException | None) -> None:
    """Let go of the graphs that an engine had made when it gave up: they hang on the frames of its traceback."""
    while refusal is not None:
        traceback.clear_frames(refusal.__traceback__)
        refusal = refusal.__cause__


def _tell_uncompiled(model: nn.Module) -> None:
    part = compiled_part(model) if memory(model).once("compiled parts") else None
    if part is not None:
        warn(
            f"torch.compile has no double backward, so engine='auto' takes 'double_backward' (exact) and runs {part}, which is compiled, as plain Python "
            "inside the loss; elsewhere it stays compiled. Name the engine with engine= to silence this warning"
        )


def _tell_gathered(model: nn.Module) -> None:
    if Placement(model).is_fsdp and memory(model).once("gathered"):
        warn(_GATHERED)
