"""Reads a Jupyter notebook as Python: its code cells in order, without their magics, each under a name that tells its number. Runs nothing."""

import ast
import json
import linecache
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

_OTHER_LANGUAGES = re.compile(r"^%%(?!time\b|timeit\b|capture\b|prun\b|python3?\b)")
"""Cell magics whose cell is no Python; the body of the others is."""
_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[\w.,\s]+=\s*[%!].*|[\w.]+\?{1,2}\s*)$")


def cells(path: Path) -> Iterator[tuple[int, str]]:
    """Number and Python of each code cell, counted from 1. Lines stay where they are; a magic's line does nothing.

    Raises `ValueError` where the file is not a notebook."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in listed if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook of version 4: {type(error).__name__}: {error}") from error
    for number, source in enumerate(sources, 1):
        yield number, "" if _OTHER_LANGUAGES.match(source.lstrip()) else _without_magics(_unindented(source))


def compiled(path: Path) -> Iterator[CodeType]:
    """The cells, compiled one after the other as they are asked for; tracebacks and findings name them ``train.ipynb, cell 3``."""
    for number, source in cells(path):
        name, text = f"{path}, cell {number}", source + "\n"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        yield compile(text, name, "exec", dont_inherit=True)


def _unindented(source: str) -> str:
    """Without the indent of the first line, as IPython reads a cell."""
    indent = source[: len(source) - len(source.lstrip(" \t"))]
    return "\n".join(line.removeprefix(indent) for line in source.split("\n")) if indent else source


def _without_magics(source: str) -> str:
    """The source as it is where that is Python; else with ``pass`` in place of each line that is a magic."""
    try:
        ast.parse(source)
    except SyntaxError:
        return "\n".join(_MAGIC.sub(r"\1pass", line) for line in source.split("\n"))
    return source
