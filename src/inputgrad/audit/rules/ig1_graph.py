"""IG1, the graph: an input gradient in the loss that no parameter feels."""

import math
from collections.abc import Iterator

from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import DeadTerm, LiveTerm
from inputgrad.audit.replacements import gradients, graphs
from inputgrad.audit.rule_registry import rule
from inputgrad.audit.source_flow import flows_into

_CUTS = {
    "no_grad": "torch.no_grad() is on here",
    "data": ".data leaves the graph here",
    "tensor": "torch.tensor() copies the values and leaves the graph here",
    "as_tensor": "torch.as_tensor() of a list copies the values and leaves the graph here",
    "numpy": "the round trip by numpy leaves the graph here",
    "__array__": "the round trip by numpy leaves the graph here",
    "__float__": "float() leaves the graph here",
    "tolist": ".tolist() leaves the graph here",
}


@rule("IG101", "gradient without a graph in the loss")
def without_graph(facts: Facts) -> Iterator[Finding]:
    """A summand of a loss comes from an input gradient that was taken without ``create_graph=True``."""
    for call, dead in _dead(facts):
        gradient = dead.origin.gradient
        if dead.origin.cut is None or dead.origin.cut.by != "no graph" or gradient.call.root.unrecorded or "checkpoint" in gradient.call.graph.obstacles:
            continue
        how, effect = _without_graph(gradient.call), facts.effect_with_graph.get(gradient.call.site, math.nan)
        yield Finding(
            "IG101",
            "error",
            gradient.call.site,
            f"the input gradient computed here carries no graph ({how}); {_what(dead)} changes no parameter.",
            ("‖∂loss/∂θ‖ through it = 0 now" if dead.residual else "‖∂term/∂θ‖ = 0 now") + _with_one(gradient, effect),
            _with_graph(gradient.call),
            (dead.site,),
            effect=_relative(effect, call),
        )


def _with_one(gradient: InputGradient, effect: float) -> str:
    """The effect with a graph, and why it may look like nothing: the gradients of a mean are smaller than the samples' own, and a square is once more."""
    if math.isnan(effect):
        return ""
    count = gradient.call.root.mean_over
    small = count is not None and count == gradient.samples > 1
    why = f" (small: what is differentiated is a mean over {count} samples, so each gradient is {count} times too small, see IG301)" if small else ""
    return f", {effect:.3g} with a graph{why}"


@rule("IG102", "graph cut on the way to the loss")
def cut_on_the_way(facts: Facts) -> Iterator[Finding]:
    """The input gradient had a graph, and an operation between it and the loss ended it."""
    felt = {live.gradient for call in facts.calls for live in call.graph.live_terms}
    for call, dead in _dead(facts):
        cut, gradient = dead.origin.cut, dead.origin.gradient
        if cut is None or cut.by == "no graph" or not gradient.requires_grad or gradient in felt:
            continue
        effect = facts.effect_with_graph.get(gradient.call.site, math.nan)
        yield Finding(
            "IG102",
            "error",
            cut.site,
            f"{_CUTS.get(cut.by, f'.{cut.by}() leaves the graph here')}: {_what(dead)} changes no parameter, "
            f"though the input gradient of {gradient.site.shown} carried a graph.",
            f"‖∂term/∂θ‖ = 0 now, {'' if math.isnan(effect) else f'{effect:.3g} with a graph, '}while the term adds {dead.value:.3g} to the loss",
            graphs.uncut(cut.site, cut.by) or "keep the tensor as it is between the input gradient and the loss; detach a copy of it for what is printed",
            (dead.site, gradient.site),
            effect=_relative(effect, call),
        )
    yield from _by_arrays(facts, felt)


def _by_arrays(facts: Facts, felt: set[InputGradient]) -> Iterator[Finding]:
    """The gradient kept its graph, no backward pass came to it, and an array of its values is in the loss by the script's own assignments."""
    for gradient in facts.input_gradients:
        taken = next((operation for operation in gradient.operations if operation.name in ("numpy", "__array__", "tolist")), None)
        if taken is None or not gradient.call.request.create_graph or not gradient.requires_grad or gradient.reached or gradient in felt:
            continue
        loss = next((call for call in _stepped(facts) if call.number > gradient.call.number), None)
        if loss is not None and loss.step == gradient.call.step and flows_into(taken.site, loss.site):
            yield Finding(
                "IG102",
                "error",
                taken.site,
                f"{_CUTS[taken.name]}: what is made of the array is in the loss of {loss.site.shown} and changes no parameter, though the input gradient of "
                f"{gradient.site.shown} carried a graph.",
                "‖∂term/∂θ‖ = 0: no backward pass comes to the input gradient",
                "the same in torch operations, on the tensor as it is",
                (loss.site, gradient.site),
            )


@rule("IG103", "connected term that changes no parameter")
def connected_and_zero(facts: Facts) -> Iterator[Finding]:
    """The loss depends on the input gradient, and the input gradient does not depend on the parameters."""
    for call in _stepped(facts):
        for live in call.graph.live_terms:
            if live.effect == 0 and live.pull:
                yield _zero(call, live)


def _zero(call: GradientCall, live: LiveTerm) -> Finding:
    second = live.gradient.second_of is not None
    why = (
        "second derivatives of a piecewise linear network (ReLU) are zero wherever they exist"
        if second
        else "the gradient does not vary with the parameters here, or it is that of another network than the one that is trained"
    )
    return Finding(
        "IG103",
        "error",
        live.gradient.site,
        f"the loss of {call.site.shown} depends on this input gradient, but its derivative with respect to every parameter is zero: {why}.",
        f"‖∂term/∂θ‖ = 0, while ‖∂loss/∂g‖ = {live.pull:.3g}",
        "use a smooth activation (SiLU, softplus, tanh) if the term needs a second derivative with respect to the input"
        if second
        else "differentiate an output that is not linear in the input, of the network that is trained",
        (call.site,),
        effect=1.0,
    )


def _stepped(facts: Facts) -> Iterator[GradientCall]:
    """The backward passes whose gradients were stepped along."""
    return (call for call in facts.calls if call.kind == "backward" and call.fate.stepped)


def _dead(facts: Facts) -> Iterator[tuple[GradientCall, DeadTerm]]:
    """Dead terms of losses that train, or that would if they had a graph, with the loss; a term that is zero at present is no evidence.

    A whole loss whose only leaf comes from a gradient is the next step of an attack as well: there the new input gradient is read.
    """
    for call in facts.calls:
        if call.kind == "backward":
            read, stepped = call.fate.input_gradient_read, call.fate.stepped
            terms = (dead for dead in call.graph.dead_terms if dead.value and (not read if dead.whole else stepped))
            yield from ((call, dead) for dead in terms if dead.origin.gradient.call.step == call.step and _matters(facts, dead))


def _relative(effect: float, loss: GradientCall) -> float | None:
    """What the graph would add, relative to what the loss gives to the parameters now."""
    return None if math.isnan(effect) else effect / loss.fate.contributed if loss.fate.contributed else 1.0


def _matters(facts: Facts, dead: DeadTerm) -> bool:
    """Whether a graph would change what is trained: measured; of a sample, and of a residual that was not measured though it could be, nothing is said."""
    effect = facts.effect_with_graph.get(dead.origin.gradient.call.site, math.nan)
    return not dead.sample and effect != 0 and (not dead.residual or effect > 0 or not facts.measurable)


def _what(dead: DeadTerm) -> str:
    """The term in words, with its line."""
    if dead.residual:
        return f"in the residual of {dead.site.shown} it counts as a constant and"
    if dead.whole:
        return f"the loss made from it, of {dead.site.shown}, has no graph of its own and"
    return f"the loss term made from it at {dead.site.shown}"


def _without_graph(call: GradientCall) -> str:
    if call.request.transform:
        return f"torch.func.{call.request.transform} " + (
            "of a function that no parameter enters with its graph" if call.request.grad_enabled else "under no_grad"
        )
    return "backward without create_graph=True" if call.kind == "backward" else "autograd.grad without create_graph=True"


def _with_graph(call: GradientCall) -> str:
    if call.request.transform and not call.request.grad_enabled:
        return f"take torch.func.{call.request.transform} outside of torch.no_grad()"
    if call.request.transform:
        return "functional_call(model, dict(model.named_parameters()), (x,)): parameters as they are, not detached; or call the model itself"
    own = gradients.with_graph(call)
    if own or call.kind == "backward":
        return own or gradients.in_words(call, graph=True)
    for name in ("jacobian", "hessian", "vjp", "jvp", "vhp", "hvp"):
        if f"{name}(" in call.site.code:
            return f"torch.autograd.functional.{name}(..., create_graph=True)"
    return "torch.autograd.grad(..., create_graph=True)"
