"""How an input gradient is taken instead: with a graph, by ``autograd.grad`` in place of a backward pass, or without the graph that nobody needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from inputgrad.audit.call_sites import Site
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.source_edits import Edit, Source, argument, called, target

_FUNCTIONAL = ("jacobian", "hessian", "vjp", "jvp", "vhp", "hvp")
_COPIES = ("clone", "detach", "data", "cpu", "requires_grad_")
"""What stands behind ``x.grad`` and would be in the way of its graph, or for nothing."""
_EMPTYING = ("zero_", "fill_")


class Backward(NamedTuple):
    """A backward pass as it is written: what is differentiated, along which direction, and the statement."""

    root: str
    seed: str
    statement: ast.stmt
    scope: ast.AST


def backward_at(source: Source, site: Site) -> Backward | None:
    """The one backward pass on a line: ``loss.backward()`` or ``torch.autograd.backward(loss)``."""
    statement = source.statement(site.line, "backward")
    calls = source.calls(statement, "backward") if statement is not None else []
    if statement is None or len(calls) != 1:
        return None
    (call,) = calls
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    by_function = owner is None or source.text(owner).endswith("autograd")
    root = argument(call, 0, "tensors") if by_function else owner
    seed = argument(call, 1 if by_function else 0, "grad_tensors" if by_function else "gradient")
    if isinstance(root, (ast.List, ast.Tuple)) and len(root.elts) == 1:
        root = root.elts[0]
    if root is None or (isinstance(seed, ast.Constant) and seed.value is None):
        seed = None
    return None if root is None else Backward(source.text(root), "" if seed is None else source.text(seed), statement, source.scope(statement))


def with_graph(call: GradientCall) -> str:
    """The lines by which this gradient is taken with its graph."""
    source = Source.of(call.site)
    if source is None:
        return ""
    if call.kind == "backward":
        return asked_directly(call, graph=True)
    statement = source.statement(call.site.line)
    names = ("grad",) if statement is not None and source.calls(statement, "grad") else _FUNCTIONAL
    calls = [] if statement is None else source.calls(statement, *names)
    if not calls or any(word.arg is None for node in calls for word in node.keywords) or any(len(node.args) > 3 for node in calls if names == ("grad",)):
        return ""
    leaves = [] if statement is None else _made_leaves(source, statement)
    return source.diff([*(source.with_keyword(node, "create_graph", "True", "retain_graph") for node in calls), *map(source.without, leaves)])


def _made_leaves(source: Source, taken: ast.stmt) -> list[ast.stmt]:
    """Statements that make a leaf of what comes from the gradient (``penalty.requires_grad = True``): torch refuses that where it has a graph."""
    made: set[str] = set()
    leaves: list[ast.stmt] = []
    for statement in source.statements(source.scope(taken)):
        if statement.lineno < taken.lineno:
            continue
        name = target(statement)
        if isinstance(name, ast.Attribute) and name.attr == "requires_grad" and source.text(name.value) in made:
            leaves.append(statement)
        elif name is not None and (statement is taken or any(isinstance(node, ast.Name) and node.id in made for node in ast.walk(statement))):
            made.add(source.text(name))
    return leaves


def asked_directly(call: GradientCall, *, graph: bool) -> str:
    """The lines by which ``autograd.grad`` gives what a backward pass left in ``x.grad``, and leaves the parameters alone."""
    source = Source.of(call.site)
    backward = None if source is None else backward_at(source, call.site)
    reads = {gradient.site for gradient in call.input_gradients}
    if source is None or backward is None or not source.alone(backward.statement) or not reads or any(site.file != call.site.file for site in reads):
        return ""
    edits, inputs = [source.without(backward.statement)], set[str]()
    for site in reads:
        statement = source.statement(site.line)
        found = [] if statement is None else list(_read(source, statement))
        if statement is None or source.scope(statement) is not backward.scope or not found:
            return ""
        for whole, variable in found:
            inputs.add(variable)
            edits.append(source.replace(whole, _taken(backward, variable, graph=graph, kept="retain_graph" in source.text(backward.statement))))
    edits += [source.without(statement) for statement in _emptied(source, backward.scope, inputs, min(site.line for site in reads))]
    return source.diff(edits)


def in_words(call: GradientCall, *, graph: bool) -> str:
    """The same as one line, where the script's own lines cannot be shown changed."""
    source = Source.of(call.site)
    backward = None if source is None else backward_at(source, call.site)
    variable = read_of(call) or "x"
    name = f"{variable.rpartition('.')[2]}_grad" if variable.isidentifier() or "." in variable else "input_grad"
    unseen = f"torch.autograd.grad(output.sum(), {variable}, create_graph=True)[0]"
    return f"{name} = {unseen if backward is None else _taken(backward, variable, graph=graph, kept=True)}"


def read_of(call: GradientCall) -> str:
    """The input whose ``.grad`` was read, as the script names it."""
    for gradient in call.input_gradients:
        source = Source.of(gradient.site)
        statement = None if source is None else source.statement(gradient.site.line)
        for _, variable in _read(source, statement) if source is not None and statement is not None else ():
            return variable
    return ""


def _taken(backward: Backward, variable: str, *, graph: bool, kept: bool) -> str:
    seed = f", {backward.seed}" if backward.seed else ""
    option = ", create_graph=True" if graph else ", retain_graph=True" if kept else ""
    return f"torch.autograd.grad({backward.root}, {variable}{seed}{option})[0]"


def _read(source: Source, statement: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    """Each ``x.grad`` that a statement reads, with the copies behind it, and x."""
    for node in source.expressions(statement):
        if isinstance(node, ast.Attribute) and node.attr == "grad" and isinstance(node.ctx, ast.Load) and not source.text(node.value).endswith("autograd"):
            whole: ast.AST = node
            for above in source.above(node):
                copied = isinstance(above, ast.Attribute) and above.attr in _COPIES and above.value is whole
                called_so = isinstance(above, ast.Call) and above.func is whole and called(above) in _COPIES
                if not copied and not called_so:
                    break
                whole = above
            if isinstance(whole, ast.Attribute) and whole.attr in _COPIES and whole.attr != "data":
                continue  # a copy that is only named
            yield whole, source.text(node.value)


def _emptied(source: Source, scope: ast.AST, inputs: set[str], first: int) -> list[ast.stmt]:
    """Statements that empty these inputs' gradients by a method, which would fail where there is none."""
    emptied = []
    for statement in source.statements(scope):
        call = statement.value if isinstance(statement, ast.Expr) else None
        guarded = any(isinstance(above, ast.If) for above in source.above(statement) if ".grad" in source.text(getattr(above, "test", above)))
        if isinstance(call, ast.Call) and called(call) in _EMPTYING and statement.lineno >= first and not guarded:
            owner = source.text(call.func).removesuffix(f".{called(call)}").removesuffix(".data")
            emptied += [statement] if owner.endswith(".grad") and owner.removesuffix(".grad") in inputs else []
    return emptied


def emptied_before(call: GradientCall) -> str:
    """``x.grad = None`` above the backward pass, where it stands in the same function as the reading."""
    source, variable = Source.of(call.site), read_of(call)
    backward = None if source is None else backward_at(source, call.site)
    if source is None or backward is None or not variable or not source.alone(backward.statement):
        return ""
    sites = {gradient.site for gradient in call.input_gradients}
    if any(site.file != call.site.file or (found := source.statement(site.line)) is None or source.scope(found) is not backward.scope for site in sites):
        return ""
    return source.diff([source.before(backward.statement, f"{variable}.grad = None")])


def without_graph(site: Site) -> str:
    """The line of ``autograd.grad`` without ``create_graph=True``; the graph of the forward pass stays, which may be needed again."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    calls = [] if source is None or statement is None else source.calls(statement, "grad", *_FUNCTIONAL)
    if source is None or len(calls) != 1:
        return ""
    given = next((word for word in calls[0].keywords if word.arg == "create_graph"), None)
    if given is None or not isinstance(given.value, ast.Constant):
        return ""
    if called(calls[0]) == "grad" and all(word.arg != "retain_graph" for word in calls[0].keywords):
        return source.diff([source.replace(given, "retain_graph=True")])
    return source.diff([source.replace(given.value, "False")])


def detached(site: Site, taken: Site) -> str:
    """The line that moves an input along its gradient, with the gradient detached. taken: the line that the gradient comes from."""
    source = Source.of(site)
    statement, first = (None, None) if source is None else (source.statement(site.line), source.statement(taken.line))
    name = target(first)
    if source is None or statement is None or name is None or site.file != taken.file or source.scope(statement) is not source.scope(name):
        return ""
    text = source.text(name)
    used = [node for node in source.expressions(statement) if isinstance(getattr(node, "ctx", None), ast.Load) and source.text(node) == text]
    edits: list[Edit] = [source.replace(node, f"{text}.detach()") for node in used]
    return source.diff(edits) if len(used) == 1 else ""
