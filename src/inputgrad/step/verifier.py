"""Gradient against value: the terms' parameter gradient by an engine is compared with differences of their value in the parameters.

Must not know what follows from it (`verification`).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from inputgrad.distributed.placement import Placement
from inputgrad.engines import Auto, DoubleBackward, Engine, FiniteDifference, WeightAsStep
from inputgrad.errors import EngineError
from inputgrad.passes.branches.tape import module_with_hidden_branches
from inputgrad.passes.directions import Directions, exchanged
from inputgrad.passes.frozen import FrozenDecisions
from inputgrad.passes.in_chunks import relative_distance, sketch
from inputgrad.passes.output_derivative import first_derivative_misfit
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.value_differences import DIRECTIONS, STEPS, compare
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.objective import Objective
from inputgrad.torch_internals import messages
from inputgrad.variables import ModelInputs

TOLERANCES = {True: {torch.float64: 1e-5, torch.float32: 2e-3}, False: {torch.float64: 1e-3, torch.float32: 3e-2}}
"""Whether the engine is exact -> what its gradient may be off, relative to the change of the value."""
ON_PURPOSE = 1e-3
"""From which misfit on a first derivative is another one on purpose, and not for its rounding."""
UNSETTLED = 5.0
"""From which multiple of the tolerance on a misfit says anything that is not the same at both steps."""
CLEARLY = 0.1
"""How much closer another engine's gradient has to be to the value, where that alone tells that this one's is wrong."""
ROUNDINGS = 3
"""How often a gradient that looks wrong is made with numbers rounded otherwise; the gradient of a single parameter may agree with itself by chance."""

Status = Literal["verified", "wrong", "on purpose", "not verified", "zero"]


@dataclass(frozen=True)
class Verification:
    """What the comparison of gradient and value says of one engine.

    status: "verified"; "wrong": the gradient is not the derivative of the value; "on purpose": nor is the model's own first derivative, so the model changes
    gradients on purpose; "zero": the gradient is exactly zero, and so is the change of the value; "not verified": it cannot be told, for the reason given.
    misfit: relative, where there is one.
    """

    status: Status
    misfit: float | None = None
    reason: str = ""


class Verifier:
    """The terms of one call, their gradient and their value, on one batch from which nothing remains."""

    def __init__(
        self, objective: Objective, model: nn.Module, inputs: ModelInputs, target: Any, active: list[ActiveTerm], directions: int = DIRECTIONS
    ) -> None:
        self._directions = directions
        self._objective = replace(objective, base_counts=False)
        self._model, self._inputs, self._target = model, inputs, target
        largest = max((abs(float(item.weight)) for item in active), default=0.0) or 1.0  # the total is of ordinary size, however small the weights are
        self._active = [replace(item, weight=float(item.weight) / largest or 1.0) for item in active]
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._state = RandomAndBufferState(model, inputs)
        self._state.remember()

    def verify(self, engine: Engine) -> Verification:
        """Whether this engine's gradient is the derivative of the value. Raises what the step itself would raise."""
        if (reason := self._why_not(engine)) is not None:
            return Verification("not verified", reason=reason)
        frozen = FrozenDecisions()
        directions = Directions(self._gradients(engine), self._parameters, self._directions)
        try:
            misfit = compare(lambda: self._value(frozen), directions, self._tolerance(engine))
        except RuntimeError as error:  # such as re-entrant checkpointing, which allows no gradient but by backward()
            if messages.is_machine_error(error):
                raise
            return Verification("not verified", reason=str(error).splitlines()[0])
        if misfit is not None and not math.isfinite(misfit.relative):
            return Verification("wrong", math.inf) if misfit.settled else Verification("not verified", reason="numbers are not finite")
        if misfit is None:
            return self._flat(frozen, directions)
        if misfit.relative <= self._tolerance(engine) * (1 if misfit.settled else UNSETTLED):
            return Verification("verified", misfit.relative)
        if not misfit.settled:
            return Verification("not verified", misfit.relative, "the value is not a smooth enough function of the parameters")
        if self._rounding(engine) > 0.1 * misfit.relative:
            return Verification("not verified", misfit.relative, "rounding decides the gradient")
        return self._misfit(engine, misfit.relative, frozen)

    def _misfit(self, engine: Engine, misfit: float, frozen: FrozenDecisions) -> Verification:
        hidden = module_with_hidden_branches(self._model) or frozen.hidden
        try:
            with self._state.run():
                first = first_derivative_misfit(self._model, self._inputs, self._objective.pick, self._parameters)
        except RuntimeError as error:  # as above
            if messages.is_machine_error(error):
                raise
            first = None
        off = first if first is not None and (first.relative > self._tolerance(engine) or first.kink) else None
        if hidden is not None and not self._has_witness(engine, misfit, frozen):
            return Verification("not verified", misfit, f"the branch decisions inside {hidden} cannot be held fixed")
        if off is not None and off.settled and off.relative < ON_PURPOSE:
            return Verification(
                "not verified", misfit, f"the model's own first derivative is {off.relative:.1g} off the change of its output, by rounding inside"
            )
        if off is not None and off.settled:
            return Verification("on purpose", misfit, f"the model's own first derivative is {off.relative:.0%} off the change of its output")
        if off is not None:
            return Verification("not verified", misfit, "the model's output is not a smooth function of the parameters and the inputs")
        return Verification("wrong", misfit)

    def _has_witness(self, engine: Engine, misfit: float, frozen: FrozenDecisions) -> bool:
        """Whether another engine, whose gradient comes in another way, agrees with the value: then no hidden decision has spoiled the value's differences."""
        other = DoubleBackward() if isinstance(engine, FiniteDifference) else FiniteDifference()
        try:
            found = compare(lambda: self._value(frozen), Directions(self._gradients(other), self._parameters, self._directions), self._tolerance(other))
        except (EngineError, RuntimeError) as error:
            if messages.is_machine_error(error):
                raise
            return False
        return found is not None and found.settled and found.relative <= min(self._tolerance(other), CLEARLY * misfit)

    def _rounding(self, engine: Engine) -> float:
        """How far the gradient moves, relative, when parameters and inputs are rounded otherwise: one of numbers that cancel moves by its own size."""
        generator = torch.Generator().manual_seed(1)
        size = 4 * max(torch.finfo(parameter.dtype).eps for parameter in self._parameters)

        def jitter(tensor: Tensor) -> Tensor:
            return tensor.detach() * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype).to(tensor.device)

        here = _sketches(self._gradients(engine))

        def moved() -> float:
            inputs = self._inputs.replaced({key: z + size * jitter(z) for key, z in self._inputs.tensors() if z.is_floating_point()})
            with exchanged(self._parameters, lambda _number, data: data.add_(jitter(data), alpha=size)):
                return relative_distance(_sketches(self._gradients(engine, inputs)), here)

        return max(moved() for _ in range(ROUNDINGS))

    def _flat(self, frozen: FrozenDecisions, directions: Directions) -> Verification:
        if directions.zero and self._value(frozen) != 0:
            return Verification("zero", 0.0, "no parameter changes it")
        return Verification("not verified", reason="the value is too flat in the parameters for its rounding")

    def _why_not(self, engine: Engine) -> str | None:
        placement = Placement(self._model)
        if not self._parameters:
            return "no parameter requires grad"
        if isinstance(engine, WeightAsStep):
            return "it is approximate by the size of the weight"
        if placement.is_sharded or placement.is_fsdp:
            return "the parameters are sharded"
        if any(replica.static_graph for replica in placement.replicas):
            return "a static graph of DistributedDataParallel allows no further backward pass"
        dtypes = {parameter.dtype.to_real() for parameter in self._parameters}
        if not dtypes <= STEPS.keys() or torch.is_autocast_enabled(self._parameters[0].device.type):
            return "half precision is too coarse"
        return None

    def _tolerance(self, engine: Engine) -> float:
        exact = engine.traits.exact or isinstance(engine, Auto)
        return max(TOLERANCES[exact][parameter.dtype.to_real()] for parameter in self._parameters)

    def _gradients(self, engine: Engine, inputs: ModelInputs | None = None) -> list[Tensor | None]:
        objective = replace(self._objective, engine=engine)
        local = self._state.placement.local
        call = objective.on(self._model, inputs or self._inputs, self._target, self._active, immediate=local, lean=local)
        with self._state.run(), call as opened:
            value = opened.total(opened.values())  # before the way back, which goes through every share of the batch that was taken
            return opened.pull_back().gradients(value, self._parameters)

    def _value(self, frozen: FrozenDecisions) -> float:
        call = self._objective.on(self._model, self._inputs, self._target, self._active, differentiable=False, frozen=frozen)
        with self._state.run(), frozen.evaluation(), call as opened:
            return float(opened.total(opened.values()).detach())


def _sketches(gradients: list[Tensor | None]) -> list[Tensor | None]:
    return [None if gradient is None else sketch(gradient) for gradient in gradients]
