"""IG9, protocol: terms that are taken now and then, never used, or dragged along."""

import ast
import linecache
from collections.abc import Iterator
from itertools import pairwise

from inputgrad.audit.facts import Facts, GradientCall, Source
from inputgrad.audit.findings import Finding, rule
from inputgrad.audit.rules.ig9_protocol import mode_at
from inputgrad.audit.sites import Site

_GROWN = 3
"""So many calls must show the same growth."""


@rule("IG903", "lazy term without its interval", "note")
def lazy(facts: Facts) -> Iterator[Finding]:
    """A term that is in the loss at every k-th step only, and the script multiplies nothing by what it counts with (``step % k``)."""
    for site, seen in _steps_with(facts).items():
        for optimizer, numbers in seen.items():
            steps = [step.number for step in facts.steps if step.optimizer == optimizer and step.shares]
            gaps = {later - earlier for earlier, later in pairwise(numbers)}
            if len(numbers) < 2 or len(gaps) != 1 or (interval := gaps.pop()) < 2 or not _between_all(numbers, steps):
                continue
            if _multiplied(site.file):
                continue
            yield Finding(
                "IG903",
                "note",
                site,
                f"the term made from this gradient is in the loss at every {_ordinal(interval)} step only, and nothing is multiplied by the interval: over "
                f"many steps its weight is 1/{interval} of what is written.",
                f"in steps {', '.join(str(number + 1) for number in numbers)} of {len(steps)}",
                f"loss + {interval} * weight * penalty, unless the weight holds the interval already",
            )


def _multiplied(file: str) -> bool:
    """Whether what the script counts steps with, ``step % k``, is also a factor somewhere in it; true too where it does not count so."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return True
    operations = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
    counted = {ast.unparse(node.right) for node in operations if isinstance(node.op, ast.Mod)}
    factors = {ast.unparse(side) for node in operations if isinstance(node.op, ast.Mult) for side in (node.left, node.right)}
    return not counted or bool(counted & factors)


def _between_all(numbers: list[int], steps: list[int]) -> bool:
    """Whether the optimiser stepped between them, without the term."""
    return all(number in steps for number in range(numbers[0], numbers[-1] + 1))


def _steps_with(facts: Facts) -> dict[Site, dict[str, list[int]]]:
    """By the gradient's line and the optimiser: the steps that a term of it is in."""
    found: dict[Site, dict[str, list[int]]] = {}
    for step in facts.steps:
        for reached in (reached for call in step.shares if call not in step.stale for reached in call.alive):
            numbers = found.setdefault(reached.source.site, {}).setdefault(step.optimizer, [])
            if step.number not in numbers:
                numbers.append(step.number)
    return found


@rule("IG904", "term computed and never added", "warning")
def never_added(facts: Facts) -> Iterator[Finding]:
    """A number was made of an input gradient with its graph, and no backward pass of the step goes through it."""
    for source in _idle(facts):
        if _term(source) is not None and not _evaluation(facts, source.call) and not source.call.obstacles:  # those are IG6's
            term = _term(source)
            yield Finding(
                "IG904",
                "warning",
                source.site,
                f"the term made from this gradient at {term.shown if term else ''} is in no loss: create_graph=True says that it was meant to be, and no "
                "backward pass reaches it.",
                "‖∂loss/∂term‖ = 0",
                "loss = loss + weight * term, before loss.backward()",
                () if term is None else (term,),
            )


@rule("IG908", "graph carried from step to step", "warning")
def grows(facts: Facts) -> Iterator[Finding]:
    """The graph behind one line is longer at each step, by as much: the inputs still hang on the steps before."""
    for site, calls in _lines(facts).items():
        counts = [call.nodes for call in calls]
        growth = {later - earlier for earlier, later in pairwise(counts)}
        if len(counts) >= _GROWN and len(growth) == 1 and (each := growth.pop()) > 0:
            yield Finding(
                "IG908",
                "warning",
                site,
                "the graph that this line goes back through grows from step to step: a tensor of the last step, an input or a state, was carried on with its "
                "history.",
                f"{counts[0]} nodes at first, {each} more at each step",
                "x = x.detach().requires_grad_(True) at the beginning of each step; in a model, x = x.detach() before requires_grad_()",
            )


def _lines(facts: Facts) -> dict[Site, list[GradientCall]]:
    """By line: its first call in each step; every call where nothing is stepped and no gradient is trained through."""
    found: dict[Site, list[GradientCall]] = {}
    unrolled = {reached.source.call for call in facts.calls for reached in call.alive}
    for call in facts.calls:
        calls = found.setdefault(call.site, [])
        if call.error is None and call.retain_graph and (all(call.step != other.step for other in calls) if facts.steps else call not in unrolled):
            calls.append(call)
    return found


@rule("IG910", "graph of a gradient that nothing needs", "note")
def needless(facts: Facts) -> Iterator[Finding]:
    """``create_graph=True``, and no backward pass goes through the gradient's graph, or only where its derivative is zero: memory and time for nothing."""
    through = {reached.source for call in facts.calls for reached in call.alive if reached.pull != 0}
    flat = {reached.source for call in facts.calls for reached in call.alive if call.stepped and any(use.moves == "alive" for use in reached.source.uses)}
    for source in [*_idle(facts), *sorted(flat - through, key=lambda source: source.call.number)]:
        if source.call.create_graph and not source.reached and _term(source) is not None and not _evaluation(facts, source.call):
            continue  # IG904
        if source.call.create_graph and source.call.obstacles == frozenset():
            yield Finding(
                "IG910",
                "note",
                source.site,
                "this gradient keeps its graph (create_graph=True), and "
                + ("no backward pass goes through it." if source not in flat else "what is made of it has derivative zero (its sign, a rounded value)."),
                f"a graph of {source.call.nodes} nodes is kept and differentiated for nothing",
                "leave out create_graph=True here (in evaluation: create_graph=self.training, if dropout does not hang on it)",
            )


def _idle(facts: Facts) -> list[Source]:
    """Sources with a graph that no backward pass has gone through, though there was time for one."""
    alive = {reached.source for call in facts.calls for reached in call.alive}
    for source in list(alive):
        above = source.second_of
        while above is not None and above not in alive:
            alive.add(above)
            above = above.second_of
    below = {source.second_of for source in facts.sources}
    last = facts.calls[-1].number if facts.calls else 0
    complete = not facts.ended_early and facts.failure is None
    return [
        source
        for source in facts.sources
        if source.call.create_graph
        and source.call.kind == "grad"
        and source.requires_grad
        and source not in alive
        and not source.reached
        and source not in below
        and (_closed(facts, source) or (complete and source.call.number <= last))
        and not any(use.name in ("detach", "data") for use in source.uses)
    ]


def _closed(facts: Facts, source: Source) -> bool:
    """Whether a step was made along gradients that were taken after it."""
    return any(call.number > source.call.number for step in facts.steps for call in step.shares)


def _term(source: Source) -> Site | None:
    """Where a number was made of it that has its graph."""
    return next(
        (use.site for use in source.uses if use.result == () and len(use.shape) > 0 and use.name not in ("item", "__float__", "tolist", "__format__")), None
    )


def _evaluation(facts: Facts, call: GradientCall) -> bool:
    change = mode_at(facts, call)
    return not facts.steps or (change is not None and not change.detail["training"])


def _ordinal(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }".replace(" ", "")
