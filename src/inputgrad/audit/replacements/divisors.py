"""Divisions by the number of samples, read in the script's own text: which numbers stand for it, how often, and the line with one division less."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Source, called

_NAMES = {"n", "bs", "bsz", "b", "batch_size", "batchsize", "batch", "n_samples", "num_samples", "n_points", "num_points"}
_OTHER_LENGTHS = ("load", "set", "layer", "module", "param", "step", "list", "model")
"""What `len` counts that is no batch, by a part of its name."""
_DIVIDING = ("div", "div_", "divide", "true_divide")
_MULTIPLYING = ("mul", "mul_", "multiply")


@dataclass(frozen=True)
class Batch:
    """What the run says of a batch: the number of samples, and of values in each."""

    samples: int
    values: int


@dataclass(frozen=True)
class _Number:
    """A number as samples**power · rest. rest: None where the text does not tell it."""

    power: int = 0
    rest: float | None = None

    def is_(self, value: float, batch: Batch) -> bool:
        """Whether the run's own number can be it."""
        rest = value / float(batch.samples) ** self.power
        return math.isclose(rest, self.rest, rel_tol=1e-6) if self.rest is not None else rest >= 1 and math.isclose(rest, round(rest), rel_tol=1e-6)


@dataclass(frozen=True)
class _Division:
    """A part of a statement that divides by the number of samples, or multiplies by its inverse. over: the number that is divided by."""

    node: ast.AST
    over: ast.expr
    number: _Number


def powers_of_samples(site: Site, numbers: Sequence[float], batch: Batch) -> int:
    """How often the line divides by the number of samples, where the run divided by these numbers: in that chain of factors which does it most often."""
    best = max(_chains(site, numbers, batch), key=_power, default=[])
    return _power(best)


def divided_once_less(site: Site, numbers: Sequence[float], batch: Batch) -> str:
    """The line with one division by the number of samples less, as a diff; "" where none can be made."""
    source, best = Source.of(site), max(_chains(site, numbers, batch), key=_power, default=[])
    if source is None or not best:
        return ""
    division = best[-1]
    less = _once_less(source, division.over, batch)
    if less:
        return source.diff([source.replace(division.over, less)])
    if isinstance(division.node, ast.AugAssign):
        return source.diff([source.without(division.node)])
    kept = _other_side(division)
    return source.diff([source.replace(division.node, source.text(kept))]) if kept is not None else ""


def _other_side(division: _Division) -> ast.expr | None:
    """What is divided."""
    node = division.node
    if isinstance(node, ast.BinOp):
        return node.left if division.over is node.right else node.right
    if not isinstance(node, ast.Call):
        return None
    return node.args[0] if len(node.args) > 1 else getattr(node.func, "value", None)


def _power(divisions: list[_Division]) -> int:
    return sum(division.number.power for division in divisions)


def _chains(site: Site, numbers: Sequence[float], batch: Batch) -> Iterator[list[_Division]]:
    """Of each chain of factors in the statement those divisions that the run made, from the inside."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    if source is None or statement is None:
        return
    known = {id(division.node): division for division in _divisions(source, statement, batch)}
    for division in known.values():
        around = [division, *(known[id(node)] for node in source.above(division.node) if id(node) in known)]
        left, taken = list(numbers), []
        for one in around:
            value = next((value for value in left if one.number.is_(value, batch)), None)
            if value is not None:
                left.remove(value)
                taken.append(one)
        yield taken


def _divisions(source: Source, statement: ast.stmt, batch: Batch) -> Iterator[_Division]:
    for node in chain([statement], source.expressions(statement)):
        over: ast.expr | None = None
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Div):
            over = node.right if isinstance(node, ast.BinOp) else node.value
            if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant):
                continue  # the inverse, a number itself
        elif isinstance(node, ast.Call) and called(node) in _DIVIDING and node.args:
            over = node.args[-1]
        number = _Number() if over is None else _number(source, over, batch)
        if over is not None and number.power > 0:
            yield _Division(node, over, number)
        for factor in _factors(node):
            number = _number(source, factor, batch)
            if number.power < 0 and number.rest:
                yield _Division(node, factor, _Number(-number.power, 1 / number.rest))


def _factors(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Mult):
        return [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return node.args[-1:] if isinstance(node, ast.Call) and called(node) in _MULTIPLYING else []


def _number(source: Source, node: ast.expr, batch: Batch, depth: int = 0) -> _Number:
    """What an expression says of the number that it gives."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node.value:
        return _Number(0, float(node.value))
    if isinstance(node, ast.BinOp):
        return _of_two(node.op, _number(source, node.left, batch, depth), _number(source, node.right, batch, depth))
    if isinstance(node, ast.Call) and called(node) in ("float", "int") and len(node.args) == 1:
        return _number(source, node.args[0], batch, depth)
    if isinstance(node, ast.Call) and called(node) == "numel":
        return _Number(1, float(batch.values))
    if isinstance(node, ast.Name) and depth < 4 and (assigned := _assigned(source, node)) is not None:
        return _number(source, assigned, batch, depth + 1)
    return _Number(1, 1.0) if _counts_samples(source, node) else _Number()


def _of_two(operator: ast.operator, one: _Number, other: _Number) -> _Number:
    if isinstance(operator, ast.Mult):
        return _Number(one.power + other.power, None if one.rest is None or other.rest is None else one.rest * other.rest)
    if isinstance(operator, ast.Div):
        return _Number(one.power - other.power, None if one.rest is None or other.rest is None else one.rest / other.rest)
    if isinstance(operator, ast.Pow) and other.power == 0 and other.rest in (1.0, 2.0, 3.0):
        return _Number(one.power * int(other.rest), None if one.rest is None else one.rest**other.rest)
    return _Number()


def _assigned(source: Source, name: ast.Name) -> ast.expr | None:
    """What a name was last given before, in the same function: of ``n, d = x.shape`` the part that is its own."""
    value: ast.expr | None = None
    for statement in source.statements(source.scope(name)):
        if statement.lineno >= name.lineno or not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            continue
        given = statement.targets[0]
        if isinstance(given, ast.Name) and given.id == name.id:
            value = statement.value
        elif isinstance(given, ast.Tuple):
            for place, part in enumerate(given.elts):
                if isinstance(part, ast.Name) and part.id == name.id and not any(isinstance(item, ast.Starred) for item in given.elts[:place]):
                    of = statement.value
                    value = of.elts[place] if isinstance(of, ast.Tuple) and len(of.elts) == len(given.elts) else ast.Subscript(of, ast.Constant(place))
    return value


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


def _once_less(source: Source, number: ast.expr, batch: Batch) -> str:
    """The text of a product or power of the number of samples with one less of it; "" where nothing but that number would be left out."""
    if not isinstance(number, ast.BinOp) or _number(source, number, batch).power < 1:
        return ""
    left, right = source.text(number.left), source.text(number.right)
    if isinstance(number.op, ast.Pow):
        return left if right == "2" else f"{left} ** 2"
    if not isinstance(number.op, ast.Mult):
        return ""
    for part, other, order in ((number.right, left, "{1} * {0}"), (number.left, right, "{0} * {1}")):
        if _number(source, part, batch).power > 0:
            less = _once_less(source, part, batch)
            return order.format(less, other) if less else other
    return ""
