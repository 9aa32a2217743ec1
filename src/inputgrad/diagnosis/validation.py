"""Before training: every engine is tried on one batch, and what was found is told (`InputGradientLoss.explain`, `validate`)."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from inputgrad.diagnosis.inspection import findings_of_refusals, inspect_model, inspect_run, suggested
from inputgrad.diagnosis.measurement import Measurement, Measurements, isolated, relative, warning_texts
from inputgrad.diagnosis.records import Explanation, Finding, Validation, Verdict, one_line
from inputgrad.engines import ENGINES, Auto, Compiled, Engine, FiniteDifference, Traits
from inputgrad.engines.choice import engine_order, engine_taken_before
from inputgrad.errors import suggesting
from inputgrad.passes.model_checks import check_model, without_inference_tensors
from inputgrad.passes.outputs import default_output
from inputgrad.step.objective import Objective
from inputgrad.step.parameter_gradients import Gradients
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.torch_internals import messages
from inputgrad.variables import ModelInputs

NOT_TRIED = "compiling takes from seconds to minutes; explain(..., compile=True) tries it"


_TRIED_WITH = (
    "no engine supports this model with GradientNorm, one number per sample, which validate tries. For terms of your own, such as with an index of flat atoms, "
    "call criterion.explain(model, inputs, target)"
)


def explain(objective: Objective, step_number: int, model: nn.Module, inputs: Any, target: Any = None, *, compile: bool = False) -> Explanation:
    """See `InputGradientLoss.explain`, which hands in what it is made of and the number of its step."""
    check_model(model)
    if not objective.terms:
        raise ValueError("this criterion has no terms: its step is the plain one, and no engine is asked")
    with isolated(model, inputs) as caught:
        found = _explanation(Measurements(objective, step_number, model, without_inference_tensors(inputs), without_inference_tensors(target)), compile=compile)
    return replace(found, warnings=warning_texts(caught))


@suggesting
def validate(model: nn.Module, inputs: Any, target: Any = None) -> Validation:
    """Check before training, on one batch, which engines work for this model, what prevents the others, and how to fix it.

    model: the module. inputs: one batch, a tensor, a tuple or a dict. target: only looked at for values that are not finite.

    The engines are tried with ``GradientNorm(power=2, of="output")``; for a criterion of your own see `InputGradientLoss.explain`. Print the record to read
    it; it is true where some exact engine works.

    Gradients, buffers, random state and modes do not change, warnings are collected in the record, and it works under ``no_grad`` and ``inference_mode``. A
    model that is not supported raises nothing: the record says so. Raises `TypeError` for a ``model`` that is not a module, and for ``inputs`` that are not a
    tensor, tuple or dict.
    """
    given = ModelInputs.of(inputs)
    if not isinstance(model, nn.Module):
        check_model(model)
    objective = Objective(None, GradientNorm(power=2, of="output", wrt=suggested(model, given)).weighted(), Auto())
    findings: list[Finding] = []
    try:
        check_model(model)
        with isolated(model, inputs) as caught:
            findings += inspect_model(model, given, target)
            trials = Measurements(objective, 0, model, without_inference_tensors(inputs), without_inference_tensors(target))
            with trials.replayed():
                findings += inspect_run(model, trials.inputs, default_output)
            explanation = _explanation(trials, compile=False)
            if explanation.taken is None:
                explanation = replace(explanation, why=_TRIED_WITH)
    except Exception as error:  # whatever a model may raise
        if messages.is_machine_error(error):
            raise
        return Validation((*findings, Finding("cannot be run", _told(error), hinders=tuple(ENGINES))), _nothing(objective, model, error))
    return Validation((*findings, *findings_of_refusals(explanation, findings)), replace(explanation, warnings=warning_texts(caught)))


def _explanation(trials: Measurements, *, compile: bool) -> Explanation:
    plain = trials.plain_seconds()
    tried: dict[str, Measurement | Exception | None] = {engine.name: trials.tried(engine) for engine in trials.engines()}
    tried["compiled"] = trials.tried_compiled() if compile else None
    traits = {engine.name: engine.traits for engine in (*trials.engines(), Compiled())}
    exact = [(name, result) for name, result in tried.items() if isinstance(result, Measurement) and traits[name].exact and not _is_wrong(result)]
    reference = exact[0] if exact else None
    verdicts = [_verdict(name, result, traits[name], reference, plain) for name, result in tried.items()]
    own = trials.objective.engine
    by_auto, why_auto = _taken_by_auto(trials.model, verdicts)
    taken, why = (by_auto, why_auto) if isinstance(own, Auto) else _taken_by_name(own, verdicts, by_auto)
    everything = (_auto(verdicts, by_auto, why_auto), *verdicts)
    step = "mean of the output, since there is no base loss" if trials.objective.base is None else Explanation.plain_step
    return Explanation(type(trials.model).__name__, own.name, taken, why, everything, reference[0] if reference else None, plain, plain_step=step)


def _verdict(name: str, result: Measurement | Exception | None, traits: Traits, reference: tuple[str, Measurement] | None, plain: float) -> Verdict:
    blank = Verdict(name, "not tried", NOT_TRIED, traits.needs, traits.passes, traits.memory)
    if result is None:
        return blank
    if isinstance(result, Exception):
        return replace(blank, works="not supported", reason=_told(result))
    difference = relative(result.gradients, reference[1].gradients) if reference else None
    found = replace(blank, works="exactly" if traits.exact else "approximately", reason=None, difference=difference, time=result.seconds / plain)
    verification = result.verification
    if verification is not None:
        unverified = verification.reason if verification.status == "not verified" else ""
        found = replace(found, misfit=None if unverified else verification.misfit, unverified=unverified)
    if _is_wrong(result):
        off = f"its parameter gradient is {found.misfit:.0%} off the change of the terms' value: it is not the derivative of the loss"
        return replace(found, works="wrong", reason=off)
    if traits.exact and reference and not (difference or 0.0) <= _rounding(result.gradients):
        doubt = f"the gradient of {name!r} is not that of {reference[0]!r}, though both are exact: one of the two is wrong for this model. Please report it"
        return replace(found, works="doubtful", reason=doubt)
    return found


def _is_wrong(result: Measurement) -> bool:
    return result.verification is not None and result.verification.status == "wrong"


def _rounding(gradients: Gradients) -> float:
    """How far two exact engines may be from each other."""
    return max((torch.finfo(gradient.dtype).eps for gradient in gradients if gradient is not None), default=0.0) ** 0.5


def _taken_by_auto(model: nn.Module, verdicts: list[Verdict]) -> tuple[str | None, str]:
    """What "auto" takes, by the verdicts in its order: exact engines first."""
    earlier = engine_taken_before(model)
    if earlier is not None:
        return earlier.name, "an earlier step with this model took it"
    by_name = {verdict.engine: verdict for verdict in verdicts}
    tried = [by_name[engine.name] for engine in engine_order(model)]
    first = next((verdict for verdict in tried if verdict.supported), None)
    if first is None:
        return None, "no engine supports this model with this criterion"
    refused = [repr(verdict.engine) for verdict in tried[: tried.index(first)]]
    if not refused:
        return first.engine, "it is tried first, and works exactly"
    how = "exact" if first.works == "exactly" else "approximate"
    return first.engine, f"{' and '.join(refused)} do not support it (below); this one does, and is {how}"


def _taken_by_name(own: Engine, verdicts: list[Verdict], by_auto: str | None) -> tuple[str | None, str]:
    """What an engine that the user named does."""
    verdict = next(verdict for verdict in verdicts if verdict.engine == own.name)
    if verdict.supported:
        return own.name, f"it was named, and works {verdict.works}"
    if isinstance(own, Compiled):
        told = "it was named, and was not tried here" if verdict.works == "not tried" else "it does not support the model, and runs eagerly with one warning"
        return own.name, f"{told}; what it cannot trace runs by 'auto', which takes {by_auto!r}"
    if isinstance(own, FiniteDifference) and not own.strict and "cannot be replayed" in (verdict.reason or ""):
        return own.name, "it was named, so it runs with one warning, though branch decisions are not seen and its gradient may be wrong"
    return None, "it raises EngineError" + (f"; engine='auto' takes {by_auto!r}" if by_auto else "")


def _auto(verdicts: list[Verdict], taken: str | None, why: str) -> Verdict:
    verdict = Verdict("auto", "not supported", why, Auto.traits.needs, Auto.traits.passes, Auto.traits.memory)
    for found in verdicts:
        if found.engine == taken and found.supported:
            return replace(verdict, works=found.works, reason=None, difference=found.difference, time=found.time)
    return verdict


def _nothing(objective: Objective, model: nn.Module, error: Exception) -> Explanation:
    """The explanation of a model that cannot even be run."""
    verdicts = [Verdict(name, "not supported", _told(error), kind.traits.needs, kind.traits.passes, kind.traits.memory) for name, kind in ENGINES.items()]
    return Explanation(type(model).__name__, objective.engine.name, None, "the model cannot be run on this batch", tuple(verdicts), None, None)


def _told(error: Exception) -> str:
    """An error in one line."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    text = one_line(lines[0]) if lines else type(error).__name__
    return text if type(error).__name__ == "EngineError" else f"{type(error).__name__}: {text}"
