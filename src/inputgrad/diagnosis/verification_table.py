"""Every engine's gradient against the change of the value, thoroughly: in float64 and along more directions where the model can be copied and cast."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.diagnosis.measurement import isolated
from inputgrad.engines import ENGINES, Auto, Compiled
from inputgrad.errors import EngineError
from inputgrad.passes.model_checks import check_model, without_inference_tensors
from inputgrad.step.active_terms import active_terms
from inputgrad.step.objective import Objective
from inputgrad.step.verifier import Verification, Verifier
from inputgrad.torch_internals import messages
from inputgrad.variables import ModelInputs

DIRECTIONS = 6


@dataclass(frozen=True)
class VerificationTable:
    """What `InputGradientLoss.verify` returns: one `Verification` per engine. True where some engine's gradient is right; printed, a table.

    model: its class. setting: in which precision it was verified, in words.
    """

    model: str
    setting: str
    engines: Mapping[str, Verification | str]

    def __bool__(self) -> bool:
        return any(isinstance(found, Verification) and found.status == "verified" for found in self.engines.values())

    def __getitem__(self, engine: str) -> Verification | str:
        """The verification of the engine of this name, or why it cannot run, in words. Raises `KeyError` for another name."""
        return self.engines[engine]

    def __str__(self) -> str:
        rows = [f"{self.model}, {self.setting}: the parameter gradient of the terms against the change of their value", ""]
        for name, found in self.engines.items():
            if isinstance(found, str):
                rows.append(f"  {name:<22} cannot run    {found}")
            else:
                misfit = "" if found.misfit is None else f"{found.misfit:.0e}"
                rows.append(f"  {name:<22} {found.status:<13} {misfit:<7} {found.reason}".rstrip())
        return "\n".join(rows)


def verify(objective: Objective, step_number: int, model: nn.Module, inputs: Any, target: Any = None) -> VerificationTable:
    """See `InputGradientLoss.verify`."""
    check_model(model)
    if not objective.terms:
        raise ValueError("this criterion has no terms: its step is the plain one, and no engine is asked")
    with isolated(model, inputs):
        given, target = ModelInputs.of(without_inference_tensors(inputs)), without_inference_tensors(target)
        found, setting = _in_float64(objective, step_number, model, given, target)
        if found is None:
            found = _by_engine(objective, step_number, model, given, target)
    return VerificationTable(type(model).__name__, setting, found)


def _in_float64(objective: Objective, step_number: int, model: nn.Module, inputs: ModelInputs, target: Any) -> tuple[dict[str, Verification | str] | None, str]:
    """On a copy of the model in float64; None, and why, where it cannot be copied and cast."""
    try:
        copied = deepcopy(model).double()
        given = inputs.replaced({key: _wide(z) for key, z in inputs.tensors()})
        found = _by_engine(objective, step_number, copied, given, _wide(target))
    except Exception as error:  # whatever a model raises that cannot be copied, or that fixes a precision
        if messages.is_device_error(error):  # memory may do for its own precision
            raise
        return None, f"in its own precision (float64: {type(error).__name__})"
    if all(isinstance(result, str) for result in found.values()):
        return None, "in its own precision (no engine runs it in float64)"
    return found, "in float64"


def _by_engine(objective: Objective, step_number: int, model: nn.Module, inputs: ModelInputs, target: Any) -> dict[str, Verification | str]:
    own = objective.engine
    engines = [own if type(own) is kind else kind() for kind in ENGINES.values() if kind not in (Auto, Compiled)]
    active = active_terms(objective.terms, step_number, training=False)
    found: dict[str, Verification | str] = {}
    for engine in engines:
        verifier = Verifier(replace(objective, engine=engine), model, inputs, target, active, DIRECTIONS)
        try:
            found[engine.name] = verifier.verify(engine)
        except EngineError as error:
            found[engine.name] = str(error)
    return found


def _wide(value: Any) -> Any:
    """Floating-point tensors in float64, wherever they are in tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.detach().to(torch.float64) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _wide(item) for key, item in value.items()}
    return type(value)(map(_wide, value)) if type(value) in (tuple, list) else value
