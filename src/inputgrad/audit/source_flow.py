"""Which names of a function come from a line, by its text: for what no run shows, such as the way through numpy. Knows no finding."""

from __future__ import annotations

import ast

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Source, called, target

_SHOWN_ONLY = ("print", "append", "add_scalar", "log", "info", "write", "set_postfix", "set_description")


def flows_into(begin: Site, end: Site) -> bool:
    """Whether what a line assigns is, by assignments of the same function, in the expression that another line calls ``backward`` of."""
    source = Source.of(begin)
    first, last = (None, None) if source is None else (source.statement(begin.line), source.statement(end.line, "backward"))
    if source is None or first is None or last is None or begin.file != end.file or source.scope(first) is not source.scope(last):
        return False
    known = set[str]()
    for statement in source.statements(source.scope(first)):
        if first.lineno <= statement.lineno < last.lineno and (statement is first or _uses(statement, known)) and not _shows(statement):
            names = [statement.target] if isinstance(statement, ast.AugAssign) else [target(statement)]
            known |= {source.text(name) for name in names if name is not None}
    return any(isinstance(call.func, ast.Attribute) and _uses(call.func.value, known) for call in source.calls(last, "backward"))


def _uses(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)) and ast.unparse(part) in names for part in ast.walk(node))


def _shows(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and called(statement.value) in _SHOWN_ONLY
