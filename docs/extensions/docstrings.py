"""Docstrings, which are plain text, as restructured text for autodoc."""

import inspect
import re
from collections.abc import Collection, Iterator
from typing import Any

from sphinx.application import Sphinx

_SETTING = re.compile(r"[a-z]\w*(?:, [a-z]\w*)*: ")
_FURTHER_SETTING = re.compile(r"(?<=[.;)] )(?P<names>[a-z]\w*(?:, [a-z]\w*)*): ")

_INNER = re.compile(r"(?:Must not know|Knows|It knows)\b[^.]*\.\s*")
"""What a module may know is for those who read its source."""


def as_restructured_text(_app: Sphinx, what: str, _name: str, obj: Any, _options: Any, lines: list[str]) -> None:
    """Bars are bars, a line `name: what it is` begins an item of a list, and an indented line is a formula."""
    result: list[str] = []
    in_list = in_formula = False
    written = _INNER.sub("", "\n".join(lines)).split("\n") if what == "module" else lines
    for line in [part for whole in _paragraphs_joined(written) for part in items(whole, settings_of(obj))]:
        if not line.strip():
            in_list = in_formula = False
            result.append(line)
        elif line.startswith("    ") and (in_formula or not result or not result[-1].strip()):
            line = line.replace("``", "")
            result += [line] if in_formula else [".. code-block:: text", "", line]
            in_formula = True
        elif _SETTING.match(line) and (in_list or not result or not result[-1]):
            name, _, text = line.partition(": ")
            in_list = True
            result += ["", f"* **{name}**: {_plain(text)}"]
        else:
            result.append(_plain(f"  {line}" if in_list else line))
    lines[:] = result


def settings_of(obj: Any) -> frozenset[str]:
    """The names of the parameters."""
    try:
        return frozenset(inspect.signature(obj).parameters)
    except (TypeError, ValueError):  # a property, a value
        return frozenset()


def items(line: str, settings: Collection[str]) -> list[str]:
    """A line of text, cut before each further ``name: `` of a parameter, if it begins with one: ``n: draws. form: how`` is two items of the list."""
    if not _SETTING.match(line) or not set(line.partition(":")[0].split(", ")) & set(settings):
        return [line]
    cuts = [found.start() for found in _FURTHER_SETTING.finditer(line) if set(found["names"].split(", ")) <= set(settings)]
    return [line[start:end].rstrip(" ;") for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True)]


def _paragraphs_joined(lines: list[str]) -> Iterator[str]:
    """Lines of a list's item, which its source wraps, in one; all other lines as they are."""
    held = ""
    for line in lines:
        goes_on = bool(held) and bool(line.strip()) and not line.startswith("    ") and not _SETTING.match(line) and not line.startswith((">>>", "..."))
        if goes_on:
            held += " " + line.strip()
            continue
        if held:
            yield held
        held = line if _SETTING.match(line) else ""
        if not held:
            yield line
    if held:
        yield held


def _plain(line: str) -> str:
    """A line of text, in which bars are bars."""
    return line.replace("|", "\\|")
