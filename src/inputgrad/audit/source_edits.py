"""The user's own source, and changes of it as the lines of a diff: what a finding says to write, in the names that the script has. Changes no file."""

from __future__ import annotations

import ast
import difflib
import linecache
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from inputgrad.audit.call_sites import Site

_LONGEST = 12
"""A diff of more lines than this is no hint any more."""
Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Edit:
    """New text in place of what stands between two places (line from 1, letter from 0)."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


class Source:
    """The text of one file with its tree."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = [line if line.endswith("\n") else f"{line}\n" for line in lines]
        self.tree = ast.parse("".join(self.lines))
        self._parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @classmethod
    def of(cls, site: Site) -> Source | None:
        """The file of a line; None where it cannot be read as Python."""
        return _read(site.file, "".join(linecache.getlines(site.file)))

    # what stands where

    def statement(self, line: int, calling: str = "") -> ast.stmt | None:
        """The innermost statement on a line, of a compound one its head alone; of several the last, or the last that calls a function of this name."""
        around = [node for node in ast.walk(self.tree) if isinstance(node, ast.stmt) and node.lineno <= line <= self._last(node)]
        around = [node for node in around if self.calls(node, calling)] or around
        return max(around, key=lambda node: (node.lineno, node.col_offset), default=None)

    def scope(self, node: ast.AST) -> Scope:
        """The function that a node stands in, or the module."""
        return next(above for above in self.above(node) if isinstance(above, Scope))

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the inside."""
        while node in self._parents:
            node = self._parents[node]
            yield node

    def expressions(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The nodes of a statement, without the statements inside it, in the order of the text."""
        nodes = [node for part in ast.iter_child_nodes(statement) if not _inner(part) for node in ast.walk(part)]
        yield from sorted((node for node in nodes if hasattr(node, "lineno")), key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]  # of a statement or expression

    def calls(self, statement: ast.stmt, *names: str) -> list[ast.Call]:
        """The calls of functions or methods of these names in a statement."""
        return [node for node in self.expressions(statement) if isinstance(node, ast.Call) and called(node) in names]

    def statements(self, scope: ast.AST) -> Iterator[ast.stmt]:
        """The statements of a function, without those of functions inside it, in the order of the text."""
        inner = (node for node in ast.walk(scope) if isinstance(node, ast.stmt) and node is not scope and self.scope(node) is scope)
        yield from sorted(inner, key=lambda node: (node.lineno, node.col_offset))

    def text(self, node: ast.AST) -> str:
        if getattr(node, "end_lineno", None) is None:
            return ast.unparse(node)
        (first, begin), (last, end) = self._place(node)
        lines = self.lines[first - 1 : last]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][begin:]
        return textwrap.dedent("".join(lines))

    def alone(self, statement: ast.stmt) -> bool:
        """Whether nothing else stands on the statement's lines."""
        begin, end = self._place(statement)
        rest = self.lines[end[0] - 1][end[1] :].strip()
        return not self.lines[begin[0] - 1][: begin[1]].strip() and (not rest or rest.startswith("#"))

    def _last(self, statement: ast.stmt) -> int:
        body = [part for part in ast.iter_child_nodes(statement) if _inner(part)]
        last = statement.end_lineno or statement.lineno
        return min([last, *(max(part.lineno - 1, statement.lineno) for part in body if hasattr(part, "lineno"))]) if body else last

    def _place(self, node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
        """Begin and end in letters, where the tree counts bytes."""
        first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]  # of a statement or expression
        begin, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]  # of a statement or expression
        return (first, self._letters(first, begin)), (last, self._letters(last, end))

    def _letters(self, line: int, offset: int) -> int:
        return len(self.lines[line - 1].encode()[:offset].decode())

    # changes

    def replace(self, node: ast.AST, text: str) -> Edit:
        return Edit(*self._place(node), text)

    def without(self, statement: ast.stmt) -> Edit:
        """The statement and its comment leave; ``pass`` stays where it was the only one."""
        block = next((part for part in _blocks(self._parents[statement]) if statement in part), [])
        first, last = statement.lineno, statement.end_lineno or statement.lineno
        return Edit((first, 0), (last + 1, 0), f"{self._indent(statement)}pass\n" if len(block) == 1 else "")

    def before(self, statement: ast.stmt, line: str) -> Edit:
        """A new line above a statement."""
        return Edit((statement.lineno, 0), (statement.lineno, 0), f"{self._indent(statement)}{line}\n")

    def after(self, statement: ast.stmt, line: str) -> Edit:
        """A new line below a statement."""
        below = (statement.end_lineno or statement.lineno) + 1
        return Edit((below, 0), (below, 0), f"{self._indent(statement)}{line}\n")

    def with_keyword(self, call: ast.Call, name: str, value: str, instead_of: str = "") -> Edit:
        """A keyword argument set, or put in the place of another."""
        given = {word.arg: word for word in call.keywords}
        if name in given:
            return self.replace(given[name].value, value)
        if instead_of in given:
            return self.replace(given[instead_of], f"{name}={value}")
        last = [*call.args, *call.keywords][-1]
        place = self._place(last)[1]
        return Edit(place, place, f", {name}={value}")

    def without_argument(self, call: ast.Call, given: ast.AST) -> Edit:
        """An argument of a call leaves, with the comma before it."""
        listed: list[ast.expr | ast.keyword] = sorted([*call.args, *call.keywords], key=self._place)
        number = next(position for position, item in enumerate(listed) if item is given)
        if number:
            return Edit(self._place(listed[number - 1])[1], self._place(given)[1], "")
        end = self._place(listed[1])[0] if len(listed) > 1 else self._place(given)[1]
        return Edit(self._place(given)[0], end, "")

    def diff(self, edits: Iterable[Edit]) -> str:
        """The lines that the edits change, without their common indent: ``- old`` and ``+ new``. "" where they cannot be made or are too many."""
        lines = list(self.lines)
        for edit in sorted(set(edits), key=lambda edit: edit.start, reverse=True):
            (first, begin), (last, end) = edit.start, edit.end
            lines += [""] * (last - len(lines))
            old = lines[first - 1 : last]
            lines[first - 1 : last] = [old[0][:begin] + edit.text + old[-1][end:]]
        new = "".join(lines).splitlines(keepends=True)
        try:
            ast.parse("".join(new))
        except SyntaxError:
            return ""
        return _shown(self.lines, new)

    def _indent(self, statement: ast.stmt) -> str:
        line = self.lines[statement.lineno - 1]
        return line[: len(line) - len(line.lstrip())]


@lru_cache(maxsize=32)
def _read(file: str, text: str) -> Source | None:
    try:
        return Source(text.splitlines(keepends=True)) if text else None
    except (SyntaxError, ValueError):
        return None


def _shown(old: list[str], new: list[str]) -> str:
    shown: list[str] = []
    changes = [change for change in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if change[0] != "equal"]
    for number, (kind, first, last, begin, end) in enumerate(changes):
        shown += ["\0"] if number else []
        above, below = (old[first - 1 : first], old[first : first + 1]) if kind == "insert" else ([], [])  # to show where it goes
        shown += [f"  {line}" for line in above if line.strip()]
        shown += [f"- {line}" for line in old[first:last]] + [f"+ {line}" for line in new[begin:end]]
        shown += [f"  {line}" for line in below if line.strip()]
    if not shown or len(shown) > _LONGEST:
        return ""
    indent = min((len(line) - 2 - len(line[2:].lstrip()) for line in shown if line != "\0"), default=0)
    return "\n".join("  ..." if line == "\0" else (line[:2] + line[2 + indent :]).rstrip() for line in shown)


def _inner(part: ast.AST) -> bool:
    return isinstance(part, (ast.stmt, ast.excepthandler, ast.match_case))


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    return (value for name in ("body", "orelse", "finalbody") if isinstance(value := getattr(node, name, None), list))


def called(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """An argument by position or name."""
    given = next((word.value for word in call.keywords if word.arg == name), None)
    return given if given is not None or len(call.args) <= position else call.args[position]


def target(statement: ast.stmt | None) -> ast.expr | None:
    """The one name that a statement assigns to: of ``g = …`` and of ``g, = …``."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    only = statement.targets[0]
    while isinstance(only, (ast.Tuple, ast.List)) and len(only.elts) == 1:
        only = only.elts[0]
    return only if isinstance(only, (ast.Name, ast.Attribute, ast.Subscript)) else None
