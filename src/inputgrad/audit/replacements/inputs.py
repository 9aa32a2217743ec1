"""How the input itself is made instead: weights for each sample, values within bounds, a new tensor in place of a change."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Edit, Source, called, target

_DRAWS = ("rand", "rand_like", "randn", "randn_like")


def one_weight_each(site: Site, dimensions: int) -> str:
    """The draw with one uniform number for each sample. dimensions: of the inputs."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    calls = [] if source is None or statement is None else source.calls(statement, *_DRAWS)
    if source is None or len(calls) != 1 or not calls[0].args:
        return ""
    call, first = calls[0], calls[0].args[0]
    owner = _shaped_by(source, first)
    ones = ", 1" * (dimensions - 1)
    options = [source.text(word) for word in call.keywords if word.arg in ("device", "dtype", "generator")]
    if owner:
        options = options or [f"device={owner}.device"]
        count = f"len({owner})"
    elif isinstance(first, (ast.Constant, ast.Name)) and not called(call).endswith("_like"):
        count = source.text(first)
    else:
        return ""
    return source.diff([source.replace(call, f"torch.rand({', '.join([count + ones, *options])})")])


def _shaped_by(source: Source, first: ast.expr) -> str:
    """The tensor whose shape a draw takes: of ``rand_like(x)``, ``rand(x.shape)``, ``rand(x.size())``, ``rand(*x.shape)``."""
    value = first.value if isinstance(first, ast.Starred) else first
    if isinstance(value, ast.Call) and called(value) == "size" and not value.args:
        value = value.func
    if isinstance(value, ast.Attribute) and value.attr in ("shape", "size"):
        return source.text(value.value)
    return source.text(value) if isinstance(value, ast.Name) and called(next(_call_above(source, first))).endswith("_like") else ""


def _call_above(source: Source, node: ast.AST) -> Iterator[ast.Call]:
    return (above for above in source.above(node) if isinstance(above, ast.Call))


def within_bounds(site: Site) -> str:
    """The moved input kept in [0, 1]."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or not isinstance(statement, ast.Assign) or target(statement) is None:
        return ""
    value = statement.value
    text = source.text(value)
    return source.diff([source.replace(value, f"({text}).clamp(0, 1)" if isinstance(value, ast.BinOp) else f"{text}.clamp(0, 1)")])


def a_new_tensor(site: Site) -> str:
    """A new tensor in place of a change through ``.data``."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    edit = None if source is None or statement is None else _new(source, statement)
    return "" if source is None or edit is None else source.diff([edit])


def _new(source: Source, statement: ast.stmt) -> Edit | None:
    if isinstance(statement, ast.Assign) and (data := _data(statement.targets[0])) is not None:
        return source.replace(statement, f"{source.text(data)} = ({source.text(statement.value)}).detach().requires_grad_(True)")
    if isinstance(statement, ast.AugAssign) and (data := _data(statement.target)) is not None:
        name, sign = source.text(data), source.text(statement).split("=", 1)[0].strip()[-1]
        return source.replace(statement, f"{name} = ({name} {sign} {source.text(statement.value)}).detach().requires_grad_(True)")
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and called(call).endswith("_") and (data := _data(call.func.value)) is not None:
        name, given = source.text(data), ", ".join(source.text(item) for item in (*call.args, *call.keywords))
        return source.replace(statement, f"{name} = {name}.detach().{called(call)[:-1]}({given}).requires_grad_(True)")
    return None


def _data(node: ast.AST) -> ast.expr | None:
    return node.value if isinstance(node, ast.Attribute) and node.attr == "data" else None
