"""IG2, pollution: gradients that lie in ``.grad`` where they should not, or no longer where they should."""

import linecache
import re
from collections import Counter
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient
from inputgrad.audit.observations.run_facts import Facts, OptimizerStep
from inputgrad.audit.replacements import gradients, steps
from inputgrad.audit.rule_registry import rule

_EMPTYING = {"zero_", "data", "detach_", "detach", "fill_"}


@rule("IG201", "parameter gradients of the backward that wanted the input gradient")
def foreign_share(facts: Facts) -> Iterator[Finding]:
    """A backward pass that was there for ``x.grad`` filled the parameters' ``.grad`` too, and the optimiser stepped along both."""
    for step in facts.steps:
        for call in step.shares:
            later = [other for other in step.shares if other.number > call.number and not other.fate.input_gradient_read]
            if call.kind == "backward" and call.fate.input_gradient_read and later and _used(call):
                yield _foreign(step, call, later)


def _foreign(step: OptimizerStep, call: GradientCall, later: list[GradientCall]) -> Finding:
    same = any(call in other.graph.shared_with for other in later)
    rest = sum(step.shares[other] ** 2 for other in later) ** 0.5
    return Finding(
        "IG201",
        "error" if same else "warning",
        call.site,
        f"this backward is there for the input gradient, and also fills the parameters' .grad. The step at {step.site.shown} therefore follows the sum of two "
        f"losses' gradients: this one's, and that of the training loss ({later[-1].site.shown})."
        + (
            " Both come from the same forward pass, so a part of the loss counts twice, or something that is not a loss at all."
            if same
            else " It can be meant."
        ),
        f"norm of its share in the update {step.shares[call]:.3g}, of the rest {rest:.3g}" + (f" ({step.shares[call] / rest:.0%})" if rest else ""),
        _instead(call, step),
        (step.site, later[-1].site),
        effect=step.shares[call] / rest if rest else 1.0,
    )


def _instead(call: GradientCall, step: OptimizerStep) -> str:
    """By ``autograd.grad``, with a graph where the gradient is in a loss."""
    graph = _in_a_loss(call)
    emptied = f"{steps.optimizer_at(step.site)}.zero_grad() before the training backward"
    return gradients.asked_directly(call, graph=graph) or f"{gradients.in_words(call, graph=graph)}, which leaves .grad alone; or {emptied}"


def _in_a_loss(call: GradientCall) -> bool:
    """Whether the gradient itself is in a loss, not only the point that it led to."""
    return any(gradient.reached and not any(operation.moves for operation in gradient.operations) for gradient in call.input_gradients)


def _used(call: GradientCall) -> bool:
    """Whether the input gradient went into a loss, or was taken of what is no loss: a gradient that is only looked at leaves a plain sum of losses."""
    return any(gradient.reached for gradient in call.input_gradients) or call.root.summed_outputs is not None


@rule("IG202", "input gradient that accumulates")
def accumulates(facts: Facts) -> Iterator[Finding]:
    """``x.grad`` was read, not emptied, and read again after the next backward: the second reading holds both."""
    for gradient in facts.input_gradients:
        earlier = gradient.sum_of[:-1]
        if earlier and _looked_at(gradient) and any(_between(other, gradient) for other in earlier):
            yield Finding(
                "IG202",
                "error",
                gradient.site,
                f"the .grad read here is the sum of {len(gradient.sum_of)} backward passes; nobody emptied it between them "
                f"({', '.join(sorted({call.site.shown for call in gradient.sum_of}))}).",
                f"{len(gradient.sum_of)} gradients in one",
                _one_at_a_time(gradient.call),
                tuple(sorted({call.site for call in gradient.sum_of})),
                effect=1.0,
            )


def _one_at_a_time(call: GradientCall) -> str:
    """One gradient for each backward pass, with a graph where it is in a loss."""
    graph = _in_a_loss(call)
    lines = "" if graph else gradients.emptied_before(call)
    lines = lines or (gradients.asked_directly(call, graph=graph) if graph or not call.fate.stepped else "")
    return lines or f"{gradients.read_of(call) or 'x'}.grad = None before each backward, or {gradients.in_words(call, graph=graph)}"


def _looked_at(gradient: InputGradient) -> bool:
    """Whether its values were used; reading it to empty it is no use of them."""
    return any(operation.name not in _EMPTYING for operation in gradient.operations)


def _between(earlier: GradientCall, gradient: InputGradient) -> bool:
    """Whether the sum is not wanted: its first part was used already, or the parameters have moved since."""
    return earlier.fate.input_gradient_read or earlier.step < gradient.call.step


@rule("IG203", "wanted gradient thrown away")
def thrown_away(facts: Facts) -> Iterator[Finding]:
    """``zero_grad`` stands between two backward passes, and the first one's gradients are used by nobody."""
    if any(event.name == "hook" for event in facts.events):
        return  # a hook may have taken what was wanted
    lost = [call for call in facts.calls if _lost(call) and _stepped_later(facts, call) and not _hooks_in(call.site.file)]
    counts = Counter(call.site for call in lost)
    stepped = Counter(call.site for call in facts.calls if call.kind == "backward" and call.fate.stepped)
    steps = {step.number for step in facts.steps}
    for call in lost:
        if counts[call.site] >= max(min(2, len(steps)), stepped[call.site]):
            yield _lost_finding(call, stepped[call.site] > 0)


def _hooks_in(file: str) -> bool:
    """Whether a file hangs hooks on nodes of the graph, or did so on modules before the run was watched: these are not seen."""
    text = "".join(linecache.getlines(file))
    return re.search(r"\.register_\w*hook\(|\.register_hook\(|\.register_prehook\(", text) is not None


def _lost(call: GradientCall) -> bool:
    wanted = call.fate.contributed > 0 and not call.fate.input_gradient_read and not call.fate.parameter_gradient_read and not call.fate.not_finite
    wanted = wanted and not call.graph.hooked  # a module's hook may have taken what was wanted
    return call.kind == "backward" and call.fate.error is None and call.fate.discarded_by is not None and not call.fate.stepped and wanted


def _stepped_later(facts: Facts, call: GradientCall) -> bool:
    return any(other.kind == "backward" and other.fate.stepped and other.step == call.step for other in facts.calls[call.number + 1 :])


def _lost_finding(call: GradientCall, accumulation: bool) -> Finding:
    site: Site = call.fate.discarded_by or call.site
    return Finding(
        "IG203",
        "error",
        site,
        f"the gradients of the backward of {call.site.shown} are emptied here before any step and nothing has read them: "
        + ("of the micro-batches only the last one trains." if accumulation else "that loss trains nothing."),
        f"norm of what is thrown away {call.fate.contributed:.3g}",
        ("" if accumulation else steps.kept(site, call.site)) or "zero_grad() once, before the first backward of each step",
        (call.site,),
        effect=1.0,
    )


@rule("IG204", "graph kept in the parameters' .grad", "warning")
def kept_graph(facts: Facts) -> Iterator[Finding]:
    """``backward(create_graph=True)`` again and again, on parameters whose ``.grad`` still holds the graph of the time before."""
    before: set[Site] = set()
    for call in facts.calls:
        if call.kind != "backward" or not call.request.create_graph or call.request.inputs_given:
            continue
        if call.graph.kept_in_parameters and call.site in before:
            yield Finding(
                "IG204",
                "warning",
                call.site,
                "backward(create_graph=True) leaves its graph in the parameters' .grad, a cycle that is not freed while it is there; "
                "the next one is added to it.",
                f"{call.graph.kept_in_parameters} parameters' .grad still carry the graph of an earlier pass",
                "torch.autograd.grad(..., create_graph=True), which leaves .grad alone; or zero_grad(set_to_none=True) after each use",
            )
        before.add(call.site)
