"""The first step with a model is verified: the terms' parameter gradient is compared with the change of their value in the parameters.

What torch, a custom Function, a hook or a compiler breaks is found without knowing which: the value is right, and the gradient is not its derivative.
"""

import math
import os
from collections.abc import Hashable
from typing import Any

from torch import nn

from inputgrad.distributed.ddp import active_ddp
from inputgrad.distributed.placement import Placement
from inputgrad.engines import Auto, Compiled, Engine, FiniteDifference
from inputgrad.engines.choice import engine_order, engine_taken_before
from inputgrad.errors import EngineError, warn
from inputgrad.memory import memory
from inputgrad.passes.flat_models import told_of
from inputgrad.passes.second_derivative import model_fingerprint
from inputgrad.step.active_terms import ActiveTerm
from inputgrad.step.form import form_of_step, is_hashable
from inputgrad.step.objective import Objective
from inputgrad.step.verifier import Status, Verification, Verifier
from inputgrad.torch_internals import messages
from inputgrad.variables import ModelInputs

SWITCH = "INPUTGRAD_VERIFY"
"""The environment variable that switches verification off everywhere, set to 0."""


def verify_first_step(objective: Objective, model: nn.Module, inputs: ModelInputs, target: Any, active: list[ActiveTerm]) -> None:
    """Verify the gradient of the terms when they first meet a model in this form. See docs/verification.md.

    Where "auto" is given and its engine's gradient is wrong, the first engine whose gradient is right is taken from then on, with a warning.
    Raises `EngineError` where a named engine's gradient is wrong, or every engine's.
    """
    known, key = memory(model), _key(objective, model, inputs, active)
    if os.environ.get(SWITCH) == "0" or active_ddp(model) is not None or not is_hashable(key) or key in known.checked:
        return
    try:
        _verify(objective, model, inputs, target, active)
    except Exception as error:
        if messages.is_machine_error(error):
            error.add_note(f"(raised while the gradients of the first step were verified; verify=False or {SWITCH}=0 switches that off)")
        raise
    known.checked.add(key)


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
        names = ", ".join(item.name for item in active if not told_of(type(item.term).__name__, model))
        if not names:
            return
        warn(
            f"the parameter gradient of {names} is exactly zero, so it trains nothing: {result.reason}. A second derivative of a ReLU network is zero, and "
            "so is a derivative that does not depend on the parameters"
        )


def is_verified(objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm]) -> bool:
    """Whether the gradient of the terms has been verified in this form; that of no terms needs none."""
    key = _key(objective, model, inputs, active)
    return not active or (is_hashable(key) and key in memory(model).checked)


def _key(objective: Objective, model: nn.Module, inputs: ModelInputs, active: list[ActiveTerm]) -> Hashable:
    return ("verified", form_of_step(objective, model, inputs, active))


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
    finite = result.misfit is not None and math.isfinite(result.misfit)
    told = f"the parameter gradient of the terms is {f'{result.misfit:.0%} off the change of their value' if finite else 'not a number, and their value is'}"
    told += f", and {result.reason}: the model changes gradients on purpose" if result.status == "on purpose" else ""
    if not isinstance(engine, Auto):
        raise EngineError(
            f"engine {engine.name!r} gives a wrong gradient for {type(model).__name__}: {told}. Take another engine (engine='auto' tries them in turn), or "
            "see criterion.verify(model, inputs, target) for a table; verify=False switches this check off"
        )
    order = engine_order(model)
    before = engine_taken_before(model) or order[0]
    for other in (*order, FiniteDifference()):  # the last one also where some branches cannot be replayed: then its gradient has to be verified
        if other.name == before.name or (result.status == "on purpose" and other.name != "double_backward"):
            continue
        try:
            found = _agreed(verifier.verify(other), model)
        except EngineError:
            continue
        if found.status == "verified" or (found.status == "not verified" and other in order):
            memory(model).engine = (model_fingerprint(model), other)
            how = "exact" if other.traits.exact else "approximate"
            warn(f"engine {before.name!r} gives a wrong gradient for {type(model).__name__}: {told}. engine='auto' takes {other.name!r} ({how})")
            return
    raise EngineError(
        f"no engine gives a right gradient for {type(model).__name__}: with {before.name!r} {told}. An operation of the model, or of a term that "
        "differentiates it again, has a wrong derivative of higher order; verify=False switches this check off"
    )
