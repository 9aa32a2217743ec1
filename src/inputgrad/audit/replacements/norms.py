"""How a norm is taken of each sample's gradient, and where a small number keeps a root or a quotient finite."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Edit, Source, argument, called

_NORMS = ("norm", "vector_norm")
_REDUCING = ("sum", "mean")
_SMALL = "1e-12"
_KEPT = ("pow", "square", "abs", "relu", "clamp", "clamp_min", "sqrt")
"""What a norm goes through on its way into a penalty, before the mean is taken."""


def each_samples(site: Site) -> str:
    """The line with one norm for each sample, and their mean, in place of one norm for all."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return ""
    found = [(node, value) for node, value in _reductions(source, statement) if _over_all(node)]
    if len(found) != 1:
        return ""
    ((call, value),) = found
    inner = _flattened(source, value)
    order = argument(call, 1 if _is_function(source, call) else 0, "p") or argument(call, 1, "ord")
    power = f"{source.text(order)}, " if order is not None and called(call) in _NORMS else ""
    reduced = f"{inner}.sum(1)" if called(call) == "sum" else f"{inner}.norm({power}dim=1)"
    outer = _outermost(source, call)
    whole, old = source.text(outer), source.text(call)
    if whole.count(old) != 1:
        return ""
    text = whole.replace(old, reduced)
    text = f"({text})" if isinstance(outer, ast.BinOp) else text
    averaged = isinstance(above := next(source.above(outer)), ast.Attribute) and above.attr in _REDUCING
    return source.diff([source.replace(outer, text if averaged else f"{text}.mean()")])


def over_samples(site: Site) -> str:
    """The line with the gradient flattened behind its first dimension, so that ``dim=1`` runs over all values of a sample."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return ""
    found = [value for node, value in _reductions(source, statement) if not _over_all(node)]
    return source.diff([source.replace(found[0], _flattened(source, found[0]))]) if len(found) == 1 else ""


def kept_from_zero(site: Site) -> str:
    """The line with a small number under its root, or in its denominator."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return ""
    edits: list[Edit] = []
    for node in source.expressions(statement):
        value: ast.expr | None = None
        if isinstance(node, ast.Call) and called(node) in ("sqrt", "log"):
            value = argument(node, 0, "input") if _is_function(source, node) else getattr(node.func, "value", None)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) and node.right.value == 0.5:
            value = node.left
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not isinstance(node.right, ast.Constant):
            value = node.right
        if value is not None:
            text = source.text(value)
            bare = isinstance(node, ast.Call) and _is_function(source, node)
            edits.append(source.replace(value, f"{text} + {_SMALL}" if bare else f"({text} + {_SMALL})"))
    return source.diff(edits) if len(edits) == 1 else ""


def _reductions(source: Source, statement: ast.stmt) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The norms of a line with what they are taken of; where there are none, the sums under a root."""
    calls = source.calls(statement, *_NORMS) or source.calls(statement, "sum")
    for call in calls:
        value = argument(call, 0, "input") or argument(call, 0, "x") if _is_function(source, call) else getattr(call.func, "value", None)
        if isinstance(value, ast.expr):
            yield call, value


def _over_all(call: ast.Call) -> bool:
    """Whether no dimension is named."""
    return all(word.arg not in ("dim", "axis") for word in call.keywords) and len(call.args) < 2 + (called(call) == "norm" and _by_torch(call))


def _by_torch(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("torch.norm", "torch.linalg.norm", "torch.linalg.vector_norm", "linalg.norm")


def _is_function(source: Source, call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) or source.text(call.func).startswith(("torch.", "linalg.", "F.", "LA."))


def _flattened(source: Source, value: ast.expr) -> str:
    text = source.text(value)
    plain = isinstance(value, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)) or text.startswith("(")
    return f"{text}.flatten(1)" if plain else f"({text}).flatten(1)"


def _outermost(source: Source, node: ast.AST) -> ast.AST:
    """The expression up to which each sample keeps its own number: differences from a target, powers, roots."""
    for above in source.above(node):
        target = isinstance(above, ast.BinOp) and (
            (isinstance(above.op, ast.Pow) and above.left is node)
            or (isinstance(above.op, (ast.Sub, ast.Add)) and isinstance(above.right if above.left is node else above.left, ast.Constant))
        )
        method = isinstance(above, ast.Attribute) and above.attr in _KEPT
        call = isinstance(above, ast.Call) and called(above) in _KEPT
        if not (target or method or call):
            break
        node = above
    return node if not isinstance(node, ast.Attribute) else node.value
