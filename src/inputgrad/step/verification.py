"""The first step with a model is verified: the terms' parameter gradient is compared with the change of their value in the parameters.

What torch, a custom Function, a hook or a compiler breaks is found without knowing which: the value is right, and the gradient is not its derivative.
"""

import math
import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from inputgrad.distributed.ddp import active_ddp
from inputgrad.distributed.placement import Placement
from inputgrad.engines import Auto, Compiled, Engine, WeightAsStep
from inputgrad.engines.choice import engine_order, engine_taken_before
from inputgrad.errors import EngineError, warn
from inputgrad.memory import memory
from inputgrad.passes.branches.tape import module_with_hidden_branches
from inputgrad.passes.directions import Directions, exchanged
from inputgrad.passes.frozen import FrozenDecisions
from inputgrad.passes.in_chunks import relative_distance, sketch
from inputgrad.passes.output_derivative import first_derivative_misfit
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.second_derivative import model_fingerprint
from inputgrad.passes.value_differences import DIRECTIONS, STEPS, compare
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.form import form_of_step, is_hashable, known_form
from inputgrad.step.objective import Objective
from inputgrad.variables import ModelInputs

SWITCH = "INPUTGRAD_VERIFY"
"""The environment variable that switches verification off everywhere, set to 0."""
TOLERANCES = {True: {torch.float64: 1e-5, torch.float32: 1e-2}, False: {torch.float64: 1e-3, torch.float32: 3e-2}}
"""Whether the engine is exact -> what its gradient may be off, relative to the change of the value."""

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
        self._active = [replace(item, weight=item.weight or 1.0) for item in active]
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._state = RandomAndBufferState(model, inputs.device(model))
        self._state.remember()

    def verify(self, engine: Engine) -> Verification:
        """Whether this engine's gradient is the derivative of the value. Raises what the step itself would raise."""
        if (reason := self._why_not(engine)) is not None:
            return Verification("not verified", reason=reason)
        frozen = FrozenDecisions()
        directions = Directions(self._gradients(engine), self._parameters, self._directions)
        try:
            misfit = compare(lambda: self._value(frozen), directions, self._tolerance(engine))
        except torch.OutOfMemoryError:
            return Verification("not verified", reason="memory ran out")
        except (EngineError, RuntimeError) as error:  # such as re-entrant checkpointing, which allows no gradient but by backward()
            return Verification("not verified", reason=str(error).splitlines()[0])
        if misfit is not None and not math.isfinite(misfit.relative):
            return Verification("not verified", reason="numbers are not finite")
        if misfit is None:
            return self._flat(frozen, directions)
        if misfit.relative <= self._tolerance(engine):
            return Verification("verified", misfit.relative)
        if not misfit.settled:
            return Verification("not verified", misfit.relative, "the value does not change smoothly enough in the parameters")
        if self._rounding(engine) > 0.1 * misfit.relative:
            return Verification("not verified", misfit.relative, "rounding decides the gradient")
        return self._misfit(engine, misfit.relative, frozen)

    def _misfit(self, engine: Engine, misfit: float, frozen: FrozenDecisions) -> Verification:
        hidden = module_with_hidden_branches(self._model) or frozen.hidden
        try:
            with self._state.run():
                first = first_derivative_misfit(self._model, self._inputs, self._objective.pick, self._parameters)
        except RuntimeError:  # as above
            first = None
        if hidden is not None:
            return Verification("not verified", misfit, f"the branch decisions inside {hidden} cannot be held fixed")
        if first is not None and (first.relative > self._tolerance(engine) or first.kink):
            if first.settled:
                return Verification("on purpose", misfit, f"the model's own first derivative is {first.relative:.0%} off the change of its output")
            return Verification("not verified", misfit, "the model's output does not change smoothly in the parameters and the inputs")
        return Verification("wrong", misfit)

    def _rounding(self, engine: Engine) -> float:
        """How far the gradient moves, relative, when parameters and inputs are rounded otherwise: one of numbers that cancel moves by its own size."""
        generator = torch.Generator().manual_seed(1)
        size = 4 * max(torch.finfo(parameter.dtype).eps for parameter in self._parameters)

        def jitter(tensor: Tensor) -> Tensor:
            return tensor.detach() * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)

        moved = self._inputs.replaced({key: z + size * jitter(z) for key, z in self._inputs.tensors() if z.is_floating_point()})
        here = _sketches(self._gradients(engine))
        with exchanged(self._parameters, lambda _number, data: data.add_(jitter(data), alpha=size)):
            return relative_distance(_sketches(self._gradients(engine, moved)), here)

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
            total = opened.total(opened.values())  # before the way back, which asks which shares of the batch were used
            return opened.pull_back().gradients(total, self._parameters)

    def _value(self, frozen: FrozenDecisions) -> float:
        call = self._objective.on(self._model, self._inputs, self._target, self._active, differentiable=False, frozen=frozen)
        with self._state.run(), frozen.evaluation(), call as opened:
            return float(opened.total(opened.values()).detach().double())


def _sketches(gradients: list[Tensor | None]) -> list[Tensor | None]:
    return [None if gradient is None else sketch(gradient) for gradient in gradients]


def verify_first_step(owner: nn.Module, objective: Objective, model: nn.Module, inputs: ModelInputs, target: Any, active: list[ActiveTerm]) -> None:
    """Verify the gradient of the terms when they first meet a model in this form. See docs/verification.md.

    Where "auto" is given and its engine's gradient is wrong, the first engine whose gradient is right is taken from then on, with a warning.
    Raises `EngineError` where a named engine's gradient is wrong, or every engine's.

    owner: the criterion, which may verify again in a form that another one made alike has verified, but not in one that it has verified itself.
    """
    known = memory(model)
    form, mine = known_form(objective, model, inputs, active), known.verified.setdefault(owner, {})
    if form in mine or os.environ.get(SWITCH) == "0" or active_ddp(model) is not None:
        return
    key = ("verified", form_of_step(objective, model, inputs, active))
    if is_hashable(key) and key not in known.checked:
        _verify(objective, model, inputs, target, active)
        known.checked.add(key)
    if len(mine) == _FORMS:
        mine.clear()
    mine[form] = (objective.engine, objective.base, active)  # held, so that no other object takes their place in memory


_FORMS = 64
"""How many forms of a criterion's step are kept at hand."""


def _verify(objective: Objective, model: nn.Module, inputs: ModelInputs, target: Any, active: list[ActiveTerm]) -> None:
    known = memory(model)
    engine = Auto() if isinstance(objective.engine, Compiled) else objective.engine
    result = _agreed(Verifier(objective, model, inputs, target, active).verify(engine), model)
    if result.status == "wrong" or (result.status == "on purpose" and not _means_double_backward(engine, model)):
        _refuse(Verifier(objective, model, inputs, target, active), engine, model, result)
    elif result.status == "on purpose" and known.once("gradients changed on purpose"):
        warn(
            f"{type(model).__name__} changes gradients on purpose ({result.reason}), by a custom autograd.Function or a hook. The gradient of the terms "
            "is that of plain double backward through it, which is not the derivative of the loss's value"
        )
    elif result.status == "zero" and known.once(("zero", *(item.name for item in active))):
        names = ", ".join(item.name for item in active)
        warn(
            f"the parameter gradient of {names} is exactly zero, so it trains nothing: {result.reason}. A second derivative of a ReLU network is zero, and "
            "so is a derivative that does not depend on the parameters"
        )


def _agreed(result: Verification, model: nn.Module) -> Verification:
    """The same on all processes that hold replicas of the model: what is wrong on one of them is wrong."""
    placement = Placement(model)
    worst = _SEVERITY[round(placement.largest(_SEVERITY.index(result.status)))]
    return result if worst == result.status else Verification(worst, placement.largest(result.misfit or 0.0), result.reason or "another process found it so")


_SEVERITY: tuple[Status, ...] = ("verified", "not verified", "zero", "on purpose", "wrong")


def _means_double_backward(engine: Engine, model: nn.Module) -> bool:
    taken = engine_taken_before(model) if isinstance(engine, Auto) else engine
    return taken is None or taken.name == "double_backward"


def _refuse(verifier: Verifier, engine: Engine, model: nn.Module, result: Verification) -> None:
    """Take another engine in place of "auto"'s, or raise."""
    told = f"the parameter gradient of the terms is {result.misfit:.0%} off the change of their value"
    told += f", and {result.reason}: the model changes gradients on purpose" if result.status == "on purpose" else ""
    if not isinstance(engine, Auto):
        raise EngineError(
            f"engine {engine.name!r} gives a wrong gradient for {type(model).__name__}: {told}. Take another engine (engine='auto' tries them in turn), or "
            "see criterion.verify(model, inputs, target) for a table; verify=False switches this check off"
        )
    before = engine_taken_before(model) or engine_order(model)[0]
    for other in engine_order(model):
        if other.name == before.name or (result.status == "on purpose" and other.name != "double_backward"):
            continue
        try:
            found = _agreed(verifier.verify(other), model)
        except EngineError:
            continue
        if found.status in ("verified", "not verified"):
            memory(model).engine = (model_fingerprint(model), other)
            how = "exact" if other.traits.exact else "approximate"
            warn(f"engine {before.name!r} gives a wrong gradient for {type(model).__name__}: {told}. engine='auto' takes {other.name!r} ({how})")
            return
    raise EngineError(
        f"no engine gives a right gradient for {type(model).__name__}: with {before.name!r} {told}. An operation of the model, or of a term that "
        "differentiates it again, has a wrong derivative of higher order; verify=False switches this check off"
    )
