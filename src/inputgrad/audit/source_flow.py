"""Which names of a function come from a line, by its text: for what no run shows, such as the way through numpy. Knows no finding."""

from __future__ import annotations

import ast

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Source, called, target

_FUNCTIONS = 4
"""Through how many functions a value is followed."""
_SHOWN_ONLY = ("print", "append", "add_scalar", "log", "info", "write", "set_postfix", "set_description")


def flows_into(begin: Site, end: Site) -> bool:
    """Whether what a line assigns is in the expression that another line calls ``backward`` of: by assignments, and by what functions of the file return."""
    source = Source.of(begin)
    first, last = (None, None) if source is None else (source.statement(begin.line), source.statement(end.line, "backward"))
    if source is None or first is None or last is None or begin.file != end.file:
        return False
    for _ in range(_FUNCTIONS):
        if source.scope(first) is source.scope(last):
            known = _assigned(source, first, last.lineno)
            return any(isinstance(call.func, ast.Attribute) and _uses(call.func.value, known) for call in source.calls(last, "backward"))
        handed_on = _handed_on(source, first, last)
        if handed_on is None:
            return False
        first = handed_on
    return False


def _assigned(source: Source, first: ast.stmt, line: int) -> set[str]:
    """The names that come from what a statement assigns, until a line of its function."""
    known = set[str]()
    for statement in source.statements(source.scope(first)):
        if first.lineno <= statement.lineno < line and (statement is first or _uses(statement, known)) and not _shows(statement):
            targets = [statement.target] if isinstance(statement, ast.AugAssign) else [target(statement)]
            known |= {source.text(name) for name in targets if name is not None}
    return known


def _handed_on(source: Source, first: ast.stmt, last: ast.stmt) -> ast.stmt | None:
    """The statement that calls the function in which the first one stands, where that returns what comes from it: the latest one before ``last``."""
    function = source.scope(first)
    if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    known = _assigned(source, first, (function.end_lineno or function.lineno) + 1)
    returned = [statement for statement in source.statements(function) if isinstance(statement, ast.Return)]
    if not any(statement is first or _uses(statement, known) for statement in returned):
        return None
    calling = [node for node in ast.walk(source.tree) if isinstance(node, ast.stmt) and source.calls(node, function.name) and node is not last]
    before = [node for node in calling if source.scope(node) is not source.scope(last) or node.lineno < last.lineno]
    return max(before, key=lambda node: node.lineno, default=None)


def _uses(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)) and ast.unparse(part) in names for part in ast.walk(node))


def _shows(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and called(statement.value) in _SHOWN_ONLY
