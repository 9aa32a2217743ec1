"""IG1, the graph, where there is no gradient at all: asked of a tensor that is not in the graph, of one that asks for none, or while gradients were off."""

import linecache
import re
import traceback
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding, Severity
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Event, Facts
from inputgrad.audit.replacements import graphs
from inputgrad.audit.rule_registry import rule

_NOT_USED = "appears to not have been used in the graph"
_ASKS_NOTHING = "does not require grad"
_BOTH = "None in place of a gradient"
_ASK = "{0} = {0}.detach().requires_grad_(True) before the forward pass"
_NONE, _NEVER = "no gradient there", "gradient did not get there"


@rule("IG104", "gradient asked of a tensor that is not in the graph")
def not_in_the_graph(facts: Facts) -> Iterator[Finding]:
    """A clone, a tensor that was made after the output, or one that is no leaf and keeps no ``.grad``."""
    for call in facts.calls:
        if call.fate.error and _NOT_USED in call.fate.error:
            yield _unused(call)
    for event, severity in _none_read(facts):
        if event.name == _NEVER or not event.detail["leaf"]:
            yield _nothing_there(facts, event, severity)


@rule("IG105", "input that requires no gradient")
def asks_for_none(facts: Facts) -> Iterator[Finding]:
    """The input was never told to require a gradient, so nothing was recorded."""
    for call in facts.calls:
        if call.fate.error and _ASKS_NOTHING in call.fate.error and not _off(call) and not call.graph.dead_terms and not call.request.inference:
            yield Finding(
                "IG105",
                "error",
                call.site,
                "the gradient asked for here cannot be had: "
                + (
                    "the tensor it is asked of does not require one."
                    if call.root.requires_grad
                    else "neither the input nor a parameter behind the output requires one."
                ),
                "autograd: " + call.fate.error.splitlines()[0],
                graphs.asking(call.site) or _ASK.format(graphs.names_of(call.site)[1] or "inputs"),
            )
    for event, severity in _none_read(facts):
        if event.name == _NONE and event.detail["leaf"]:
            yield Finding(
                "IG105",
                severity,
                event.site,
                "the input's .grad is None here: it does not require a gradient, so the backward pass left none.",
                _BOTH,
                graphs.asking(event.site, _read_of(event)) or _ASK.format(_read_of(event) or "inputs"),
            )


@rule("IG106", "output computed while gradients were off")
def while_off(facts: Facts) -> Iterator[Finding]:
    """The forward pass ran under ``no_grad`` or ``inference_mode``: there is no graph to go back through."""
    for call in facts.calls:
        if call.fate.error and _ASKS_NOTHING in call.fate.error and not call.graph.dead_terms and _off(call):
            where = "torch.inference_mode()" if call.request.inference else "torch.no_grad()"
            yield Finding(
                "IG106",
                "error",
                call.site,
                f"what is differentiated here was computed under {where}, so it has no graph.",
                "autograd: " + call.fate.error.splitlines()[0],
                graphs.switched_on(call.site, inference=call.request.inference)
                or "with torch.enable_grad(): around the forward pass and the gradient"
                + ("; inference_mode has to be left for it: with torch.inference_mode(False), on a clone of the input" if call.request.inference else ""),
            )


def _off(call: GradientCall) -> bool:
    """Gradients were off at the forward pass or are now; an inference tensor with gradients on again is another rule's affair."""
    return (
        not call.root.requires_grad and (call.root.unrecorded or not call.request.grad_enabled) and not (call.request.inference and call.request.grad_enabled)
    )


def _unused(call: GradientCall) -> Finding:
    output, name = graphs.names_of(call.site)
    if call.root.derivative:
        return _constant(call, name or "the input")
    model = f"; {output} = model({name})" if output.isidentifier() else "; output = model(x)" if not output else ", before the forward pass"
    return Finding(
        "IG104",
        "error",
        call.site,
        "the gradient is asked of a tensor that the output does not come from: a clone or a view made beside the forward pass, an input that was replaced "
        "after it, or, where the output is itself a derivative, one that does not vary with the input.",
        "autograd: One of the differentiated Tensors appears to not have been used in the graph",
        f"give the model the very tensor that you differentiate by: {name or 'x'} = {name or 'x'}.detach().requires_grad_(True){model}",
    )


def _constant(call: GradientCall, name: str) -> Finding:
    return Finding(
        "IG104",
        "error",
        call.site,
        f"the derivative of a derivative is asked for here, and the first one does not vary with {name}: what was differentiated is linear in it, or the first "
        "derivative is that by another tensor.",
        "autograd: One of the differentiated Tensors appears to not have been used in the graph",
        f"differentiate an output that is not linear in {name}; where a derivative of zero is meant: allow_unused=True, materialize_grads=True",
    )


def _nothing_there(facts: Facts, event: Event, severity: Severity) -> Finding:
    leaf, taken, name = event.name == _NEVER, event.detail.get("taken"), _read_of(event)
    if taken is not None:
        return Finding(
            "IG104",
            severity,
            event.site,
            f".grad is None here: torch.autograd.grad at {taken.shown} has given the gradient of this tensor as its result, and leaves .grad as it is.",
            _BOTH,
            f"take out the line that reads {name or 'x'}.grad, and use what {taken.shown} gave",
            (taken,),
        )
    passes = [call.site for call in facts.calls[: event.detail["calls"]] if call.kind == "backward"]
    return Finding(
        "IG104",
        severity,
        event.site,
        ".grad is None here: "
        + (
            "no backward pass has reached this tensor; the output came from another one."
            if leaf
            else "this tensor is not a leaf (a clone, or the result of an operation)."
        ),
        _BOTH,
        f"give the model {name or 'the very tensor that you differentiate by'} itself, or ask autograd.grad for its gradient"
        if leaf
        else (graphs.kept_gradient(passes[-1], name) if severity == "error" and passes and passes[-1].function == event.site.function else "")
        or f"{name}.retain_grad() before the backward pass, or input_grad, = torch.autograd.grad(output.sum(), {name})"
        if name
        else "input_grad, = torch.autograd.grad(output.sum(), x)",
    )


def _read_of(event: Event) -> str:
    """The tensor whose ``.grad`` was read, as the line names it."""
    match = re.search(r"([A-Za-z_][\w.]*)\.grad\b(?!\()", event.site.code)
    return match[1] if match else ""


def _none_read(facts: Facts) -> Iterator[tuple[Event, Severity]]:
    """Reads of ``.grad`` that gave None after a gradient had been asked for: the run failed by it, or the code goes past its term without a word."""
    read = [event for event in facts.events if event.name in (_NONE, _NEVER) and event.detail["calls"] and ".grad" in event.site.code]
    if read and _failed_by(facts.failure, read[-1].site):
        yield read[-1], "error"
    for event in read:
        if event.name == _NONE and not event.detail["leaf"] and "is not None" in event.site.code and not _empties(event.site):
            yield event, "warning"


def _failed_by(failure: BaseException | None, site: Site) -> bool:
    """Whether the run failed by a None, in the function that read it."""
    if not isinstance(failure, (AttributeError, TypeError)) or "None" not in str(failure):
        return False
    return any(frame.f_code.co_filename == site.file and frame.f_code.co_name == site.function for frame, _ in traceback.walk_tb(failure.__traceback__))


def _empties(site: Site) -> bool:
    """Whether what is guarded only empties the gradient, as it should be emptied."""
    following = site.code.partition(":")[2].strip() or linecache.getline(site.file, site.line + 1)
    return "zero" in following or "= None" in following or "detach_" in following
