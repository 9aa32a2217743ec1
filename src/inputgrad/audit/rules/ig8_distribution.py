"""IG8, distribution and evaluation: gradients that DistributedDataParallel does not average, and input gradients where inference_mode is on.

DDP averages in the backward pass that follows one of its forward passes, once that has reached every parameter (a bucket of them at a time). This is read off
the graphs, so one process is enough to see it. Gradients of a scaled loss (GradScaler) are IG502's affair. DataParallel averages nothing: it is one process.
"""

from collections.abc import Iterator

from inputgrad.audit.call_sites import raised_at
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Event, Facts, OptimizerStep
from inputgrad.audit.replacements import graphs, steps
from inputgrad.audit.rule_registry import rule

_INFERENCE = ("inference tensor", "Inference tensor", "InferenceMode", "inference mode")


@rule("IG801", "gradients that DistributedDataParallel does not average")
def not_averaged(facts: Facts) -> Iterator[Finding]:
    """A term on the input gradient whose backward pass DDP does not know of: after the one that it waits for, without its last bias, or past its forward."""
    wrapped = {event.detail["module"]: event.detail["parameters"] for event in facts.events if event.name in ("ddp", "ddp forward")}
    for module, parameters in wrapped.items():
        forwards = [event for event in facts.events if event.name == "ddp forward" and event.detail["module"] == module]
        for step in facts.steps:
            for call, why in _left(facts, forwards, parameters, step):
                if call.graph.live_terms:
                    yield _finding(call, why, step)


def _left(facts: Facts, forwards: list[Event], parameters: frozenset[int], step: OptimizerStep) -> Iterator[tuple[GradientCall, str]]:
    """The backward passes of one step whose gradients stay the worker's own, each with the reason."""
    calls = sorted((call for call in step.shares if call.kind == "backward" and call.graph.reaches & parameters), key=lambda call: call.number)
    waiting: list[tuple[GradientCall, str]] = []
    begin = calls[0].number if calls else 0
    used = max((call.number for call in facts.calls[:begin] if call.kind == "backward" and call.graph.reaches & parameters), default=-1)
    for call in calls:
        before = [event for event in forwards if used < event.detail["calls"] <= call.number]
        if before and not before[-1].detail["averaging"]:  # no_sync, on purpose
            waiting.clear()
            continue
        missed = len(parameters - call.graph.reaches)
        if not before:
            waiting.append((call, "DistributedDataParallel's forward did not run for it"))
        elif missed:
            waiting.append((call, f"it does not reach {missed} of the {len(parameters)} parameters, for which DistributedDataParallel waits"))
        else:
            waiting.clear()  # what was there already is averaged along
            used = call.number
    yield from waiting


def _finding(call: GradientCall, why: str, step: OptimizerStep) -> Finding:
    return Finding(
        "IG801",
        "error",
        call.site,
        f"the gradients of this backward pass are not averaged between workers: {why}. Each worker steps along its own, and the copies drift apart.",
        f"‖gradient‖ not averaged = {step.shares[call]:.3g}, of {step.norm:.3g} in this step",
        _together(call, step)
        or "(loss + penalty).backward(): one backward pass for both, with the forward pass through the DDP module; for a penalty alone, penalty + 0 * "
        "output.sum()",
        (step.site,),
        effect=step.shares[call] / step.norm if step.norm else None,
    )


def _together(call: GradientCall, step: OptimizerStep) -> str:
    """One backward pass for this one and the one before it, where both were meant for the step."""
    earlier = [other for other in step.shares if other.kind == "backward" and other.number < call.number]
    return steps.together(max(earlier, key=lambda other: other.number).site, call.site) if earlier else ""


@rule("IG802", "input gradient under inference_mode")
def inference(facts: Facts) -> Iterator[Finding]:
    """``enable_grad`` does not lift ``inference_mode``; Lightning's and other trainers' evaluation runs under it."""
    calls = [
        call for call in facts.calls if call.fate.error and call.request.inference and call.request.grad_enabled and "does not require grad" in call.fate.error
    ]
    for call in calls:
        said = f"torch: {call.fate.error.splitlines()[0]}" if call.fate.error else ""
        yield Finding("IG802", "error", call.site, _said(), said, graphs.switched_on(call.site, inference=True) or _WRITE)
    text = str(facts.failure) if isinstance(facts.failure, RuntimeError) else ""
    if not calls and any(sign in text for sign in _INFERENCE):
        site = raised_at(facts.failure)
        if site is not None:
            yield Finding("IG802", "error", site, _said(), f"torch: {text.splitlines()[0]}", _WRITE)


_WRITE = (
    "with torch.inference_mode(False), torch.enable_grad(): around it, on x.clone().requires_grad_(True); or no_grad in place of inference_mode "
    "(Lightning: Trainer(inference_mode=False))"
)


def _said() -> str:
    return "an input gradient is wanted from a tensor made under torch.inference_mode(), which keeps no graph; torch.enable_grad() does not lift it."
