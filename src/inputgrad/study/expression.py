"""The loss as one line: ``"cross_entropy + 1.0*gradient_norm(p=2, of=loss)"`` means the same as the mapping in a config.

Reads Python's expression syntax without evaluating anything; knows base losses by name (to tell them from terms), and no setting.
"""

import ast
from collections.abc import Collection
from typing import Any

CONSTANTS = {"inf": float("inf"), "none": None, "true": True, "false": False}
LONGEST, MOST = 10_000, 100
"""Letters of a line, and brackets or signs in it: Python's own parser ends at some thousands."""
EXAMPLE = '"cross_entropy + 1.0*gradient_norm(p=2, of=loss)"'


def parse(text: str, base_names: Collection[str], term_names: Collection[str]) -> dict[str, Any]:
    """``{"base": ..., "terms": [{name: {"weight": w, setting: value}}]}``.

    A summand that has the name of a base loss is the base, as is a first one without a weight that is no term either; every other is a term.
    Words are names, so ``of=loss`` needs no quotes.
    Raises `ValueError` which shows the part that is wrong and an example.
    """
    if len(text) > LONGEST or max(map(text.count, "(-+~")) > MOST:
        raise ValueError(f"the line has {len(text):,} letters; a loss has a few terms, for example {EXAMPLE}; write longer ones as a mapping")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r} is not a sum of a base loss and weighted terms: {getattr(error, 'msg', error)}; for example {EXAMPLE}") from error
    loss: dict[str, Any] = {"base": None, "terms": []}
    for position, (sign, summand) in enumerate(_summands(tree, 1.0)):
        weight, thing = _factors(summand)
        name, settings = _thing(thing)
        stands_first = position == 0 and thing is summand and name not in term_names
        if name not in base_names and not stands_first:
            loss["terms"].append({name: {"weight": sign * weight, **settings}})
        elif sign * weight != 1 or loss["base"] is not None:
            raise ValueError(f"{ast.unparse(summand)!r}: there is one base loss, without a weight; the terms have weights; for example {EXAMPLE}")
        else:
            loss["base"] = {name: settings}
    return loss


def _summands(node: ast.expr, sign: float) -> list[tuple[float, ast.expr]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return _summands(node.left, sign) + _summands(node.right, -sign if isinstance(node.op, ast.Sub) else sign)
    return [(sign, node)]


def _factors(node: ast.expr) -> tuple[float, ast.expr]:
    """``weight * thing``, in either order, or the thing alone."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
        return (-1.0, node.operand) if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else (1.0, node)
    for weight, thing in ((node.left, node.right), (node.right, node.left)):
        value = _number(weight)
        if value is not None:
            return value, thing
    raise ValueError(f"{ast.unparse(node)!r}: expected number*term; for example {EXAMPLE}")


def _thing(node: ast.expr) -> tuple[str, dict[str, Any]]:
    if isinstance(node, ast.Name):
        return node.id, {}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"{ast.unparse(node)!r}: settings are given by name, {node.func.id}(setting=value)")
        names = [keyword.arg for keyword in node.keywords]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{ast.unparse(node)!r}: {', '.join(sorted(map(str, twice)))} stands twice; give it once")
        return node.func.id, {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
    raise ValueError(f"{ast.unparse(node)!r}: expected a name, or name(setting=value); for example {EXAMPLE}")


def _value(node: ast.expr) -> Any:
    number = _number(node)
    if number is not None:
        return number
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return CONSTANTS.get(node.id.lower(), node.id)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Call):
        name, settings = _thing(node)
        return {name: settings}
    raise ValueError(f"{ast.unparse(node)!r}: a setting is a number, a word, a list, or name(setting=value)")


def _number(node: ast.expr) -> float | int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _number(node.operand)
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    return float("inf") if isinstance(node, ast.Name) and node.id == "inf" else None
