"""IG9, protocol: what is done with gradients and terms from step to step.

Not taken: padding inside a mean of forces, since no value tells a ghost atom from an atom at rest; a ``requires_grad_`` on the caller's tensor as such, which
is harmless until a graph is carried on by it, and that is told (IG908).
"""

from collections.abc import Iterator

from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Event, Facts, OptimizerStep
from inputgrad.audit.replacements import inputs, steps
from inputgrad.audit.rule_registry import rule

_LITTLE = 1e-6
_LOST = 0.05
"""An update that changes by less than this, under ten times the weight, does not know the weight."""


@rule("IG901", "gradients of an earlier step in this one")
def not_emptied(facts: Facts) -> Iterator[Finding]:
    """Nobody emptied ``.grad`` before the step: it holds what was stepped along already, or what another optimiser's loss left there."""
    for number, step in enumerate(facts.steps):
        if step.closure:
            continue
        old = {call: step.shares[call] for call in step.stale} | _others(facts.steps[:number], step)
        fresh = [call for call in step.shares if call not in old]
        size = sum(share**2 for share in old.values()) ** 0.5
        if not old or not fresh or size <= _LITTLE * step.norm:
            continue
        first = min(old, key=lambda call: call.number)
        again = all(call in step.stale for call in old)
        yield Finding(
            "IG901",
            "error" if again else "warning",
            step.site,
            f"this step also goes along the gradients of {first.site.shown}, "
            + ("which an earlier step has used already: " if again else "which belong to another optimiser's loss: ")
            + ".grad was not emptied before the backward passes of this step.",
            f"‖old share‖ = {size:.3g}, ‖gradient of the step‖ = {step.norm:.3g}",
            _emptied(step, min(fresh, key=lambda call: call.number)),
            (first.site,),
            effect=size / step.norm,
        )


def _emptied(step: OptimizerStep, fresh: GradientCall) -> str:
    """``zero_grad`` above the first backward pass that the step is meant to take."""
    own = steps.emptied_first(step.site, fresh.site)
    return own or f"{steps.optimizer_at(step.site)}.zero_grad() before the backward passes whose gradients this step is meant to take"


def _others(earlier: list[OptimizerStep], step: OptimizerStep) -> dict[GradientCall, float]:
    """Shares that were made for another optimiser's step, which came between them and this step's own."""
    others = {}
    for call, share in step.shares.items():
        used = next((other for other in earlier if call in other.shares and other.optimizer != step.optimizer), None)
        if used is not None and any(own.number >= used.calls for own in step.shares):
            others[call] = share
    return others


@rule("IG902", "penalty stepped alone under an adaptive optimiser", "warning")
def stepped_alone(facts: Facts) -> Iterator[Finding]:
    """A step along a term on the input gradient alone: Adam divides its size away, so its weight does next to nothing."""
    for step in facts.steps:
        if step.tenfold is None or step.tenfold > _LOST or not all(call.graph.alone for call in step.shares):
            continue
        with_loss = [other for other in facts.steps if other.optimizer == step.optimizer and not any(call.graph.live_terms for call in other.shares)]
        if not with_loss and not any(
            _same_parameters(step, other) for other in facts.steps if other is not step and not any(call.graph.live_terms for call in other.shares)
        ):
            continue
        call = next(iter(step.shares))
        yield Finding(
            "IG902",
            "warning",
            step.site,
            f"the optimiser steps along the term of {call.site.shown} alone, and its update is scaled by the gradient's own size: the term's weight is lost.",
            f"ten times the weight changes this update by {step.tenfold:.2g} of its size",
            "(loss + weight * penalty).backward(), one step for both",
            (call.site,),
        )


def _same_parameters(step: OptimizerStep, other: OptimizerStep) -> bool:
    mine, theirs = (frozenset().union(*(call.graph.reaches for call in item.shares)) for item in (step, other))
    return bool(mine & theirs)


@rule("IG905", "missing gradient silenced", "warning")
def silenced(facts: Facts) -> Iterator[Finding]:
    """``allow_unused`` or ``materialize_grads``, and no input has a gradient at all."""
    for call in facts.calls:
        if call.kind == "grad" and call.fate.wanted and call.fate.missing == call.fate.wanted and (call.request.allow_unused or call.request.materialize):
            option = "materialize_grads" if call.request.materialize else "allow_unused"
            yield Finding(
                "IG905",
                "warning",
                call.site,
                f"{option}=True hides that what is differentiated here does not depend on "
                + ("the input" if call.fate.wanted == 1 else f"any of the {call.fate.wanted} inputs")
                + ": a term made from this gradient is zero for ever.",
                "every gradient is " + ("zeros made up" if call.request.materialize else "None"),
                f"leave out {option}, and differentiate by the very tensor that went through the model",
            )


@rule("IG906", "interpolation that leaves the segment", "warning")
def interpolation(facts: Facts) -> Iterator[Finding]:
    """Points between samples whose weights were drawn for each element, or from a normal law."""
    for gradient in facts.input_gradients:
        draw = gradient.drawn
        if draw is None or not gradient.reached or gradient.samples < 2 or len(gradient.shape) < 2:
            continue
        count = 1
        for size in draw.shape:
            count *= size
        each = count > gradient.samples and draw.shape[0] == gradient.samples
        if not each and draw.law == "uniform":
            continue
        what = (
            f"one weight for each of {count} elements, not one for each of {gradient.samples} samples" if each else "normal weights, negative ones among them"
        )
        shape = ", ".join([str(gradient.shape[0]), *["1"] * (len(gradient.shape) - 1)])
        yield Finding(
            "IG906",
            "warning",
            draw.site,
            f"the points at which the input gradient of {gradient.site.shown} is taken do not lie between the samples that they are mixed of: {what}.",
            write=inputs.one_weight_each(draw.site, len(gradient.shape)) or f"torch.rand({shape}, device=x.device)",
            related=(gradient.site,),
        )


@rule("IG907", "input changed between forward and backward")
def overwritten(facts: Facts) -> Iterator[Finding]:
    """Values written through ``.data`` after the forward pass, which torch's check for changes in place does not see."""
    for event in facts.events:
        if event.name == "written under the graph" and not event.detail["wrong"] <= _LITTLE:
            call = event.detail["call"]
            yield Finding(
                "IG907",
                "error",
                event.site,
                f"the input's values change here after a forward pass has used them, and before {call.site.shown} goes back through it; "
                ".data passes torch's check.",
                f"the parameters' gradient is {event.detail['wrong']:.0%} off" if event.detail["wrong"] == event.detail["wrong"] else "",
                inputs.a_new_tensor(event.site) or "x = (x + step).detach().requires_grad_(True): a new tensor in place of a change, and a new forward pass",
                (call.site,),
                effect=event.detail["wrong"],
            )


def mode_at(facts: Facts, call: GradientCall) -> Event | None:
    """The last change of mode before a call."""
    return next((event for event in reversed(facts.events) if event.name == "mode" and event.detail["calls"] <= call.number), None)
