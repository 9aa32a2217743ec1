"""IG9, protocol: terms that are taken now and then, never used, or dragged along."""

import ast
import linecache
from collections.abc import Iterator
from itertools import pairwise

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.replacements import gradients, steps
from inputgrad.audit.rule_registry import rule
from inputgrad.audit.rules.ig9_protocol import mode_at

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
    """By the gradient's line and the optimiser: the steps that a term of it is in, beside a loss; a step along terms alone is one for itself."""
    steps: dict[Site, dict[str, list[int]]] = {}
    for step in (step for step in facts.steps if not all(call.graph.alone for call in step.shares)):
        for live in (live for call in step.shares if call not in step.stale for live in call.graph.live_terms):
            numbers = steps.setdefault(live.gradient.site, {}).setdefault(step.optimizer, [])
            if step.number not in numbers:
                numbers.append(step.number)
    return steps


@rule("IG904", "term computed and never added", "warning")
def never_added(facts: Facts) -> Iterator[Finding]:
    """A number was made of an input gradient with its graph, and no backward pass of the step goes through it."""
    for gradient in _idle(facts):
        if _term(gradient) is not None and not _evaluation(facts, gradient.call) and not gradient.call.graph.obstacles:  # those are IG6's
            term = _term(gradient)
            yield Finding(
                "IG904",
                "warning",
                gradient.site,
                f"the term made from this gradient at {term.shown if term else ''} is in no loss: create_graph=True says that it was meant to be, and no "
                "backward pass reaches it.",
                "‖∂loss/∂term‖ = 0",
                ("" if term is None else _added(facts, gradient, term)) or "loss = loss + weight * term, before loss.backward()",
                () if term is None else (term,),
            )


def _added(facts: Facts, gradient: InputGradient, term: Site) -> str:
    """The next backward pass that is stepped along, with the term in it."""
    later = (call for call in facts.calls[gradient.call.number + 1 :] if call.kind == "backward" and call.fate.stepped)
    following = next(later, None)
    return "" if following is None else steps.added(term, following.site)


@rule("IG908", "graph carried from step to step", "warning")
def grows(facts: Facts) -> Iterator[Finding]:
    """The graph behind one line is longer at each step, by as much: the inputs still hang on the steps before."""
    for site, calls in _lines(facts).items():
        counts = [call.graph.nodes for call in calls]
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
    lines: dict[Site, list[GradientCall]] = {}
    unrolled = {live.gradient.call for call in facts.calls for live in call.graph.live_terms}
    for call in facts.calls:
        calls = lines.setdefault(call.site, [])
        if call.fate.error is None and call.request.retain_graph and (all(call.step != other.step for other in calls) if facts.steps else call not in unrolled):
            calls.append(call)
    return lines


@rule("IG910", "graph of a gradient that nothing needs", "note")
def needless(facts: Facts) -> Iterator[Finding]:
    """``create_graph=True``, and no backward pass goes through the gradient's graph, or only where its derivative is zero: memory and time for nothing."""
    through = {live.gradient for call in facts.calls for live in call.graph.live_terms if live.pull != 0}
    flat = {
        live.gradient
        for call in facts.calls
        for live in call.graph.live_terms
        if call.fate.stepped and any(operation.moves == "alive" for operation in live.gradient.operations)
    }
    for gradient in [*_idle(facts), *sorted(flat - through, key=lambda gradient: gradient.call.number)]:
        if gradient.call.request.create_graph and not gradient.reached and _term(gradient) is not None and not _evaluation(facts, gradient.call):
            continue  # IG904
        if gradient.call.request.create_graph and gradient.call.graph.obstacles == frozenset():
            yield Finding(
                "IG910",
                "note",
                gradient.site,
                "this gradient keeps its graph (create_graph=True), and "
                + ("no backward pass goes through it." if gradient not in flat else "what is made of it has derivative zero (its sign, a rounded value)."),
                f"a graph of {gradient.call.graph.nodes} nodes is kept and differentiated for nothing",
                ("" if _evaluation(facts, gradient.call) else gradients.without_graph(gradient.call.site))
                or "leave out create_graph=True here (in evaluation: create_graph=self.training, if dropout does not hang on it)",
            )


def _idle(facts: Facts) -> list[InputGradient]:
    """Sources with a graph that no backward pass has gone through, though there was time for one."""
    alive = {live.gradient for call in facts.calls for live in call.graph.live_terms}
    for gradient in list(alive):
        above = gradient.second_of
        while above is not None and above not in alive:
            alive.add(above)
            above = above.second_of
    below = {gradient.second_of for gradient in facts.input_gradients}
    lines = {gradient.call.site for gradient in alive} | {gradient.call.site for gradient in facts.input_gradients if gradient.reached}
    last = facts.calls[-1].number if facts.calls else 0
    complete = not facts.ended_early and facts.failure is None
    return [
        gradient
        for gradient in facts.input_gradients
        if gradient.call.request.create_graph
        and gradient.call.kind == "grad"
        and gradient.requires_grad
        and gradient not in alive
        and not gradient.reached
        and gradient.call.site not in lines  # the line is used by a loss elsewhere: at another step, for another input, in training rather than in validation
        and gradient not in below
        and (_closed(facts, gradient) or (complete and gradient.call.number <= last))
        and not any(operation.name in ("detach", "data") for operation in gradient.operations)
    ]


def _closed(facts: Facts, gradient: InputGradient) -> bool:
    """Whether a step was made along gradients that were taken after it."""
    return any(call.number > gradient.call.number for step in facts.steps for call in step.shares)


def _term(gradient: InputGradient) -> Site | None:
    """Where a number was made of it that has its graph."""
    return next(
        (
            operation.site
            for operation in gradient.operations
            if operation.result == () and len(operation.shape) > 0 and operation.name not in ("item", "__float__", "tolist", "__format__")
        ),
        None,
    )


def _evaluation(facts: Facts, call: GradientCall) -> bool:
    change = mode_at(facts, call)
    return not facts.steps or (change is not None and not change.detail["training"])


def _ordinal(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }".replace(" ", "")
