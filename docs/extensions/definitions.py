"""What a docstring says of each parameter and each symbol, and the rest: remarks.

A list begins with a paragraph's first line, ``name: text`` or ``name, name: text``; what is not such a list is a remark.
"""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from inputgrad import catalogue

_NAME = r"[^\s:;,()`]{1,20}"
_ITEM = re.compile(rf"(?P<names>{_NAME}(?:, {_NAME})*): (?P<text>.*)", re.DOTALL)
_AS_IN = re.compile(r"as in `(\w+)`(?:; (?P<more>.+))?\.?")


@cache
def of(entry: catalogue.Entry) -> tuple[dict[str, str], dict[str, str], str]:
    """What is said of parameters, of symbols, and the remarks. ``as in `other` `` stands for what the other entry says under the same name."""
    known = inspect.signature(entry.made_of).parameters
    parameters: dict[str, str] = {}
    symbols: dict[str, str] = {}
    remarks = []
    for paragraph in _paragraphs(entry.text):
        said = list(_items(paragraph))
        for names, text in said:
            for name in names:
                (parameters if name in known else symbols)[name] = _resolved(name, text)
        remarks += [] if said else [" ".join(paragraph.split())]
    return parameters, _joined(symbols), "\n\n".join(remarks)


def _items(paragraph: str) -> Iterator[tuple[list[str], str]]:
    """Names and text of each item of a list; nothing of a paragraph that is none."""
    lines = paragraph.splitlines()
    if not _ITEM.match(lines[0]):
        return
    starts = [number for number, line in enumerate(lines) if _ITEM.match(line) and not line.startswith(" ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        found = _ITEM.match(" ".join(" ".join(lines[start:end]).split()))
        assert found
        yield found["names"].split(", "), found["text"]


def _resolved(name: str, text: str) -> str:
    other = _AS_IN.fullmatch(text)
    if not other or (there := _entry(other[1])) is None:
        return text
    parameters, symbols, _ = of(there)
    said = parameters.get(name) or symbols.get(name)
    if said is None:
        raise ValueError(f"{name}: a docstring says {text!r}, but {other[1]} says nothing of {name}")
    return f"{said.rstrip('.')}; {other['more']}" if other["more"] else said


@cache
def _entry(name: str) -> Any:
    return {entry.name: entry for entry in catalogue.entries() if entry.kind == "recipe"}.get(name)


def _joined(symbols: dict[str, str]) -> dict[str, str]:
    """Symbols with the same text share a line."""
    names: dict[str, list[str]] = {}
    for name, text in symbols.items():
        names.setdefault(text, []).append(name)
    return {", ".join(sharing): text for text, sharing in names.items()}


def _paragraphs(text: str) -> list[str]:
    """Those between the formula and "When not"."""
    middle = re.split(r"^(?:When not|Sources?): ", text, maxsplit=1, flags=re.MULTILINE)[0]
    paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", middle)[1:]]
    return [part for part in paragraphs if part and not part.startswith("    ")]
