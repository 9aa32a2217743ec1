"""A division by the number of samples, read in the script's own text: which numbers stand for it, and the line without it."""

from __future__ import annotations

import ast

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Source, called

_NAMES = {"n", "bs", "bsz", "b", "batch_size", "batchsize", "batch", "n_samples", "num_samples", "n_points", "num_points"}
_OTHER_LENGTHS = ("load", "set", "layer", "module", "param", "step", "list", "model")
"""What `len` counts that is no batch, by a part of its name."""


def divided_by_samples(site: Site) -> str | None:
    """The line without its one division by the number of samples, as a diff that may be empty; None where there is none, or several."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return None
    found = [
        node for node in source.expressions(statement) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _counts_samples(source, node.right)
    ]
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Div) and _counts_samples(source, statement.value):
        return source.diff([source.without(statement)]) if not found else None
    return source.diff([source.replace(found[0], source.text(found[0].left))]) if len(found) == 1 else None


def _counts_samples(source: Source, number: ast.expr) -> bool:
    """``len(x)``, ``x.shape[0]``, ``x.size(0)``, or a name for the size of a batch."""
    if isinstance(number, ast.Call):
        first = number.args[0] if number.args else None
        if called(number) == "len" and first is not None:
            return not any(word in source.text(first).lower() for word in _OTHER_LENGTHS)
        return called(number) == "size" and _is_zero(first)
    if isinstance(number, ast.Subscript):
        owner = number.value
        shape = (isinstance(owner, ast.Attribute) and owner.attr == "shape") or (isinstance(owner, ast.Call) and called(owner) == "size" and not owner.args)
        return shape and _is_zero(number.slice)
    name = number.attr if isinstance(number, ast.Attribute) else number.id if isinstance(number, ast.Name) else ""
    return name.lower() in _NAMES


def _is_zero(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0
