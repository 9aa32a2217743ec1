"""IG4, mode and coupling: layers whose work depends on the other samples, on chance, or on a mode that was left on."""

import re
from collections.abc import Iterator

from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Event, Facts, LayerPass
from inputgrad.audit.operation_patterns import sums_rows, trained
from inputgrad.audit.rule_registry import rule


@rule("IG401", "per-sample gradients through BatchNorm in training mode", "warning")
def batch_norm(facts: Facts) -> Iterator[Finding]:
    """The statistics of the batch make each output depend on every input, so the rows of the gradient are not the samples' own."""
    for call, live in trained(facts):
        gradient, share = live.gradient, live.gradient.call.graph.coupling
        if not gradient.call.graph.batch_norm_training or not sums_rows(gradient):
            continue
        yield Finding(
            "IG401",
            "warning",
            gradient.site,
            "BatchNorm in training mode lies between this gradient's output and its input: each row holds parts of every other sample's derivative, and a "
            "term for each sample is not defined.",
            "" if share is None else f"{share:.0%} of the first sample's gradient (in norm) lies in the other samples' inputs",
            "a norm without the batch (GroupNorm, LayerNorm, InstanceNorm), or model.eval() for the penalty's own pass",
            (call.site,),
            effect=share,
        )


@rule("IG402", "dropout masks that differ between the passes", "warning")
def masks(facts: Facts) -> Iterator[Finding]:
    """The same data goes through dropout twice in a step, and the loss and the term on the input gradient are of two different networks."""
    for call, live in trained(facts):
        passes = [item for item in _dropout(facts, call) if item.requires_grad]
        pair = next(((one, two) for i, one in enumerate(passes) for two in passes[i + 1 :] if _other_mask(one, two)), None)
        if pair is None or min(pair[0].number, pair[1].number) > live.gradient.call.number:
            continue
        yield Finding(
            "IG402",
            "warning",
            live.gradient.site,
            "the same data goes through dropout twice in this step, under two masks: the loss and the term on the input gradient are of different networks.",
            write="take the loss and the input gradient from one forward pass: output = model(x), then autograd.grad(..., x, create_graph=True)",
            related=(call.site, pair[0].site, pair[1].site),
        )
    yield from _compared(facts)


def _compared(facts: Facts) -> Iterator[Finding]:
    """A divergence between the outputs at the input and at the perturbed input, each under masks of its own."""
    for gradient in facts.input_gradients:
        operation = next((operation for operation in gradient.operations if operation.name == "kl_div"), None)
        passes = [item for item in _dropout(facts, gradient.call) if item.given]
        layers = {item.layer: [other for other in passes if other.layer == item.layer] for item in passes if item.number > gradient.call.number}
        differ = [masks for masks in layers.values() if len(masks) > 1 and len({item.draw for item in masks}) == len(masks)]
        if operation is None or not gradient.reached or not differ:
            continue
        yield Finding(
            "IG402",
            "warning",
            operation.site,
            "the outputs compared here come from passes under different dropout masks: the divergence is not zero without any perturbation.",
            f"{max(map(len, differ))} masks of one layer in this step",
            "the same masks in both passes (restore the generator's state before the second), or dropout off in all of them",
            (gradient.site,),
        )


@rule("IG403", "running statistics moved more than once per step", "warning")
def twice(facts: Facts) -> Iterator[Finding]:
    """The pass that only wants an input gradient moves BatchNorm's running statistics too."""
    kept = {item.gradient for call in facts.calls for item in call.graph.live_terms}
    for gradient in facts.input_gradients:
        call = gradient.call
        if not (call.graph.batch_norm_training and gradient.reached) or gradient in kept:
            continue
        moving = [item for item in facts.passes if item.kind == "batch_norm" and item.training and item.state and item.step == call.step]
        again = {item.state for item in moving if item.number > call.number}  # a pass of the loss's own follows
        often = max(
            (
                sum(other.state == item.state for other in moving)
                for item in moving
                if item.number <= call.number and item.requires_grad and item.state in again
            ),
            default=0,
        )
        if often > 1:
            yield Finding(
                "IG403",
                "warning",
                gradient.site,
                "the pass that this input gradient comes from moves BatchNorm's running statistics as well, so they follow perturbed or repeated data.",
                f"{often} updates of one running mean in this step",
                "model.eval() for the passes that only want the gradient, and model.train() after them",
            )


@rule("IG404", "evaluation mode left on", "warning")
def left_on(facts: Facts) -> Iterator[Finding]:
    """A layer that trained in one step works in evaluation mode in a later step's training pass, and in all that follow."""
    stepped = {step.number for step in facts.steps if step.shares}
    last: dict[int, int] = {item.layer: item.step for item in facts.passes if item.training}
    for item in facts.passes:
        if item.training or not item.requires_grad or item.step not in stepped or item.step <= last.get(item.layer, item.step):
            continue
        item = [other for other in facts.passes if other.layer == item.layer and other.step == item.step and other.requires_grad][-1]
        switch = _switch(facts, item)
        where = f"step {item.step + 1}, {item.site.shown}"
        yield Finding(
            "IG404",
            "warning",
            item.site if switch is None else switch.site,
            f"the model is put in evaluation mode here and trains so from then on ({where})."
            if switch is not None
            else f"a layer that trained in an earlier step works in evaluation mode in the training pass ({where}).",
            "dropout is off, and running statistics stand still" if item.kind == "dropout" else "its running statistics stand still",
            _back(None if switch is None else switch.site.code),
            (item.site,),
        )
        break


def _back(line: str | None) -> str:
    """What puts the mode back, in the script's own name for the model."""
    match = re.search(r"([A-Za-z_][\w.]*)\.(?:eval|train)\(", line or "")
    name = match[1] if match else "model"
    return f"{name}.train() after it; better: keep {name}.training and put that back"


def _switch(facts: Facts, item: LayerPass) -> Event | None:
    return next((event for event in reversed(facts.events) if event.name == "mode" and not event.detail["training"] and event.step <= item.step), None)


def _dropout(facts: Facts, call: GradientCall) -> list[LayerPass]:
    """Dropout at work in the call's step."""
    return [item for item in facts.passes if item.kind == "dropout" and item.training and item.step == call.step]


def _other_mask(one: LayerPass, two: LayerPass) -> bool:
    return one.layer == two.layer and one.given == two.given and one.draw != two.draw
