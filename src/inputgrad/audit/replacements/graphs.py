"""How the graph is kept, or made at all: what cuts it is taken out of the line, what switched it off is switched on, the input asks for its gradient."""

from __future__ import annotations

import ast

from inputgrad.audit.call_sites import Site
from inputgrad.audit.replacements.gradients import backward_at
from inputgrad.audit.source_edits import Source, argument, called, target

_METHODS = ("detach", "item", "tolist", "cpu")
_OFF = ("no_grad", "inference_mode")


def uncut(site: Site, by: str) -> str:
    """The line without the operation that ends the graph there."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return ""
    if by == "no_grad":
        return switched_on(site)
    edits = []
    for node in source.expressions(statement):
        if isinstance(next(source.above(node), None), ast.Attribute) and by in ("detach", "cpu"):
            continue  # what follows, numpy() or item(), needs it
        if isinstance(node, ast.Call) and called(node) == by and by in _METHODS and isinstance(node.func, ast.Attribute) and not node.args:
            edits.append(source.replace(node, source.text(node.func.value)))
        elif isinstance(node, ast.Attribute) and node.attr == by == "data":
            edits.append(source.replace(node, source.text(node.value)))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float" and by == "__float__" and len(node.args) == 1:
            edits.append(source.replace(node, source.text(node.args[0])))
        elif isinstance(node, ast.Call) and called(node) == by and by in ("tensor", "as_tensor") and node.args:
            listed = isinstance(node.args[0], (ast.List, ast.ListComp, ast.Tuple))
            edits.append(source.replace(node, f"torch.stack({source.text(node.args[0])})" if listed else source.text(node.args[0])))
    if len(edits) != 1:
        return ""
    name = target(statement)
    nothing_left = name is not None and isinstance(statement, ast.Assign) and edits[0] == source.replace(statement.value, source.text(name))
    return source.diff([source.without(statement)] if nothing_left else edits)


def switched_on(site: Site, *, inference: bool = False) -> str:
    """The ``with torch.no_grad():`` around a line, or the decorator of its function, with gradients on. inference: whether ``inference_mode`` is on."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return ""
    for above in (statement, *source.above(statement)):
        parts = [item.context_expr for item in above.items] if isinstance(above, ast.With) else getattr(above, "decorator_list", [])
        for part in parts:
            name = part.func if isinstance(part, ast.Call) else part
            off = getattr(name, "attr", getattr(name, "id", ""))
            if off in _OFF:
                owner = source.text(name).removesuffix(off)
                left = "torch.inference_mode(False), torch.enable_grad()" if off == "inference_mode" and isinstance(above, ast.With) else ""
                return source.diff([source.replace(part, left or f"{owner}enable_grad()")]) if owner or left else ""
    return _whole_function(source, statement) if names_of(site)[0] and not inference else ""


def _whole_function(source: Source, statement: ast.stmt) -> str:
    """Gradients switched on for a whole function, which computes itself what it differentiates."""
    scope, calls = source.scope(statement), source.calls(statement, "grad")
    root = argument(calls[0], 0, "outputs") if len(calls) == 1 else None
    given = isinstance(root, ast.Name) and all(not isinstance(name := target(other), ast.Name) or name.id != root.id for other in source.statements(scope))
    if not isinstance(scope, ast.FunctionDef) or root is None or given or scope.decorator_list:
        return ""
    return source.diff([source.before(scope, "@torch.enable_grad()")])


def kept_gradient(backward: Site, variable: str) -> str:
    """``x.retain_grad()`` above the backward pass that is to fill ``x.grad`` of a tensor that is no leaf."""
    source = Source.of(backward)
    found = None if source is None else backward_at(source, backward)
    known = found is not None and any(isinstance(node, ast.Name) and node.id == variable for node in ast.walk(found.scope))
    return source.diff([source.before(found.statement, f"{variable}.retain_grad()")]) if source is not None and found is not None and known else ""


def not_reentrant(file: Site) -> str:
    """The one checkpoint of a file without re-entrance."""
    source = Source.of(file)
    options = [node for node in ast.walk(source.tree) if isinstance(node, ast.keyword) and node.arg == "use_reentrant"] if source is not None else []
    true = [node for node in options if isinstance(node.value, ast.Constant) and node.value.value is True]
    return source.diff([source.replace(true[0].value, "False")]) if source is not None and len(true) == 1 else ""


def names_of(site: Site) -> tuple[str, str]:
    """What is differentiated on a line and by what, as the script names them; "" where it is not seen."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    calls = [] if source is None or statement is None else source.calls(statement, "grad")
    if source is None or len(calls) != 1:
        return "", ""
    root, variable = argument(calls[0], 0, "outputs"), argument(calls[0], 1, "inputs")
    if isinstance(variable, (ast.List, ast.Tuple)) and len(variable.elts) == 1:
        variable = variable.elts[0]
    return ("" if root is None else source.text(root)), ("" if variable is None else source.text(variable))


def asking(site: Site, variable: str = "") -> str:
    """A line that makes the input ask for its gradient, above the first statement of the function that computes what is differentiated.

    variable: the input, where the line is not one of ``autograd.grad``."""
    source, (root, named) = Source.of(site), names_of(site)
    statement, name = (None if source is None else source.statement(site.line)), variable or named
    if source is None or statement is None or not name.isidentifier():
        return ""
    scope, before = source.scope(statement), statement
    for earlier in source.statements(scope):
        if earlier.lineno >= statement.lineno:
            break
        made = target(earlier)
        if made is not None and source.text(made) == name:
            before = statement
        elif before is statement and _uses(earlier, name) and (not root or made is not None):
            before = earlier
    return source.diff([source.before(before, f"{name} = {name}.detach().requires_grad_(True)")]) if _own_line(source, before) else ""


def _uses(statement: ast.stmt, name: str) -> bool:
    whole = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr, ast.Return))
    return whole and any(isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) for node in ast.walk(statement))


def _own_line(source: Source, statement: ast.stmt) -> bool:
    return not source.lines[statement.lineno - 1][: statement.col_offset].strip()
