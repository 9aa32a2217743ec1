"""IG0, this library's own users: criteria that are asked for the wrong thing, or whose loss trains nothing."""

import ast
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.run_facts import Event, Facts
from inputgrad.audit.rule_registry import rule
from inputgrad.audit.source_edits import Source, called, target

_PRINTING = ("print", "repr", "str", "info", "debug", "format")
_ENOUGH = 2
"""So many calls in a training run show that something is meant."""


@rule("IG001", "term of weight zero", "warning")
def of_no_weight(facts: Facts) -> Iterator[Finding]:
    """A criterion is trained with a term whose weight is the number 0: it costs a pass and trains nothing."""
    for event in _called(facts):
        for name in event.detail["idle"] if facts.steps else ():
            yield Finding(
                "IG001",
                "warning",
                event.site,
                f"the term {name} of this criterion has the weight 0: it is computed at each step and trains nothing.",
                "its share of the loss = 0",
                f"leave {name} out of the criterion, or give it a weight",
            )


@rule("IG002", "criterion that is made and never called", "warning")
def never_called(facts: Facts) -> Iterator[Finding]:
    """The script makes a criterion with terms, trains without it, and names it nowhere else."""
    if _called(facts) or not facts.steps:
        return
    for event in facts.events:
        name = _named_nowhere_else(event.site) if event.name == "criterion made" and event.detail["owner"]() is not None else ""
        if name:
            yield Finding(
                "IG002",
                "warning",
                event.site,
                f"{name} is made here and never called: what is trained is another loss, without its terms.",
                f"0 calls in {len(facts.steps)} steps",
                f"loss = {name}(model, inputs, target)",
                (facts.steps[0].site,),
            )


@rule("IG003", "sum of all class scores in a criterion", "warning")
def sum_of_classes(facts: Facts) -> Iterator[Finding]:
    """``of="output"`` with several class scores differentiates their sum, while the base loss goes by the label's."""
    for event in _called(facts):
        for name in event.detail["summed"] if facts.steps else ():
            yield Finding(
                "IG003",
                "warning",
                event.site,
                f'the term {name} is taken of the sum of all class scores (of="output"), while the base loss goes by the label\'s: the sum mixes every class, '
                "and a shift of all scores alone changes it, which changes no prediction.",
                write='of="loss" for the loss of each sample, of="label" for the true class\'s score, ig.heads.EachOutput() for the whole Jacobian',
            )


@rule("IG004", "loss of a criterion that is not trained", "warning")
def not_trained(facts: Facts) -> Iterator[Finding]:
    """A criterion is evaluated at each step with gradients on, and no backward pass goes through any loss that one gave."""
    events = _called(facts)
    if len(events) < _ENOUGH or not facts.steps or any(event.detail["reached"] for event in events):
        return
    for event in events:
        yield Finding(
            "IG004",
            "warning",
            event.site,
            "the loss that this criterion gives is in no backward pass: what is trained is another loss, without its terms.",
            f"0 of {len(events)} losses reached",
            "step = criterion.evaluate(model, inputs, target); step.loss.backward(); for a number alone: under torch.no_grad()",
            (facts.steps[0].site,),
        )


def _called(facts: Facts) -> list[Event]:
    return [event for event in facts.events if event.name == "criterion called"]


def _named_nowhere_else(site: Site) -> str:
    """What a line calls the criterion that it makes, where the file names that nowhere else but to print it; else ""."""
    source = Source.of(site)
    name = target(None if source is None else source.statement(site.line))
    if source is None or not isinstance(name, (ast.Name, ast.Attribute)):
        return ""
    last = name.id if isinstance(name, ast.Name) else name.attr
    for node in ast.walk(source.tree):
        used = getattr(node, "id", getattr(node, "attr", "")) == last and isinstance(getattr(node, "ctx", None), ast.Load)
        if used and not any(isinstance(above, ast.Call) and called(above) in _PRINTING for above in source.above(node)):
            return ""
    return source.text(name)
