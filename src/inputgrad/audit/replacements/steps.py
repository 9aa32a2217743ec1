"""What changes from one statement of a step to the next: gradients emptied or not, terms added to the loss, one backward pass for two, the scaler."""

from __future__ import annotations

import ast
import re

from inputgrad.audit.call_sites import Site
from inputgrad.audit.replacements.gradients import backward_at
from inputgrad.audit.source_edits import Source, called, target


def optimizer_at(site: Site) -> str:
    """The optimiser as the user's line calls it."""
    match = re.search(r"([A-Za-z_][\w.]*(?:\[[^\]]*\])?)\.step\(", site.code)
    return match[1] if match else "optimizer"


def emptied_first(step: Site, backward: Site) -> str:
    """``optimizer.zero_grad()`` above the first backward pass of a step."""
    source = Source.of(backward)
    found = None if source is None else backward_at(source, backward)
    return "" if source is None or found is None else source.diff([source.before(found.statement, f"{optimizer_at(step)}.zero_grad()")])


def kept(site: Site, backward: Site) -> str:
    """Without the line that empties gradients, where another one does so too; else that line above the backward pass whose gradients it empties."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or not isinstance(statement, ast.Expr) or not source.alone(statement) or "zero_grad" not in source.text(statement):
        return ""
    scope, text = source.scope(statement), source.text(statement)
    same = [other for other in source.statements(scope) if isinstance(other, ast.Expr) and source.text(other) == text]
    first = backward_at(source, backward) if backward.file == site.file else None
    moved = first is not None and first.scope is scope and first.statement.lineno < statement.lineno
    if len(same) > 1 or first is None or not moved:
        return source.diff([source.without(statement)]) if len(same) > 1 else ""
    return source.diff([source.without(statement), source.before(first.statement, text)])


def added(term: Site, backward: Site) -> str:
    """The backward pass of the loss and the term, which was left out. term: where the term was made."""
    source = Source.of(backward)
    found = None if source is None else backward_at(source, backward)
    made = None if source is None or term.file != backward.file else source.statement(term.line)
    name = None if source is None or found is None or made is None else _name_in(source, made, found.scope)
    if source is None or found is None or not isinstance(name, ast.Name):
        return ""
    call = source.calls(found.statement, "backward")[0]
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if owner is None or source.text(owner) != found.root or not isinstance(owner, (ast.Name, ast.Attribute)):
        return ""
    return source.diff([source.replace(owner, f"({found.root} + {name.id})")])


def _name_in(source: Source, made: ast.stmt, scope: ast.AST) -> ast.expr | None:
    """What a function calls a number that it made itself, or that another one returned to it."""
    own = source.scope(made)
    if own is scope:
        return target(made)
    name, assigned = getattr(own, "name", ""), target(made)
    returned = isinstance(made, ast.Return) or any(
        isinstance(other, ast.Return) and assigned is not None and other.value is not None and source.text(other.value) == source.text(assigned)
        for other in source.statements(own)
    )
    takes = [other for other in source.statements(scope) if isinstance(other, ast.Assign) and isinstance(other.value, ast.Call) and called(other.value) == name]
    return target(takes[0]) if returned and len(takes) == 1 else None


def together(first: Site, second: Site) -> str:
    """One backward pass of the sum, in place of two of the same function."""
    source = Source.of(second)
    one, two = (None, None) if source is None else (backward_at(source, first), backward_at(source, second))
    if source is None or one is None or two is None or first.file != second.file or one.scope is not two.scope or one.seed or two.seed:
        return ""
    if one.statement is two.statement or not source.alone(one.statement) or not source.alone(two.statement) or "scale(" in one.root + two.root:
        return ""
    return source.diff([source.without(one.statement), source.replace(two.statement, f"({one.root} + {two.root}).backward()")])


def scaled(backward: Site) -> str:
    """The backward pass of the scaled loss, by the scaler that the script has."""
    source = Source.of(backward)
    found, name = None if source is None else backward_at(source, backward), _scaler(source)
    if source is None or found is None or not name:
        return ""
    call = source.calls(found.statement, "backward")[0]
    owner = getattr(call.func, "value", None)
    return source.diff([source.replace(owner, f"{name}.scale({found.root})")]) if owner is not None and source.text(owner) == found.root else ""


def unscaled(site: Site) -> str:
    """The input gradient divided by the scale again, below the line that takes it."""
    source = Source.of(site)
    statement, name = (None, "") if source is None else (source.statement(site.line), _scaler(source))
    gradient = target(statement)
    if source is None or statement is None or gradient is None or not name or "grad" not in source.text(statement):
        return ""
    text = source.text(gradient)
    return source.diff([source.after(statement, f"{text} = {text} / {name}.get_scale()")])


def stepped_by_the_scaler(step: Site) -> str:
    """``scaler.step(optimizer)`` in place of ``optimizer.step()``."""
    source = Source.of(step)
    statement, name = (None, "") if source is None else (source.statement(step.line), _scaler(source))
    calls = [] if source is None or statement is None else source.calls(statement, "step")
    if source is None or len(calls) != 1 or not name or not isinstance(calls[0].func, ast.Attribute) or calls[0].args:
        return ""
    updated = any(isinstance(node, ast.Call) and source.text(node.func) == f"{name}.update" for node in ast.walk(source.tree))
    edits = [source.replace(calls[0], f"{name}.step({source.text(calls[0].func.value)})")]
    return source.diff(edits if updated or statement is None else [*edits, source.after(statement, f"{name}.update()")])


def _scaler(source: Source | None) -> str:
    """What the script calls its GradScaler."""
    for node in ast.walk(source.tree) if source is not None else ():
        if isinstance(node, ast.Call) and called(node) in ("scale", "get_scale") and isinstance(node.func, ast.Attribute) and source is not None:
            return source.text(node.func.value)
    return ""
