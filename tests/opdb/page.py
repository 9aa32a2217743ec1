"""``python -m tests.opdb.page``: the tables of docs/operations.md, written anew from docs/operations.json, each between its two markers."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
RECORD, PAGE = DOCS / "operations.json", DOCS / "operations.md"
OUTCOMES = ("right", "approximate", "refused", "wrong", "raw error", "no reference")
SHOWN = 8
"""How many operations are named in a row."""


def read() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def write(record: Mapping[str, Any]) -> None:
    """The record, and the page's tables from it."""
    RECORD.write_text(text_of(record), encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


def text_of(record: Mapping[str, Any]) -> str:
    """JSON with one line for each operation and each row, so that changes can be read."""
    return _json(record, levels=3) + "\n"


def _json(value: Any, levels: int, indent: str = "") -> str:
    """Levels of objects and lists on lines of their own, and what is deeper on one line."""
    if not levels or not value or not isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    names = [f"{json.dumps(name)}: " for name in value] if isinstance(value, dict) else [""] * len(value)
    parts = [name + _json(part, levels - 1, indent + " ") for name, part in zip(names, value.values() if isinstance(value, dict) else value, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(f"{indent} {part}" for part in parts) + f"\n{indent}{closing}"


def rewritten(page: str, record: Mapping[str, Any]) -> str:
    """The page with its generated parts replaced. Raises `ValueError` where a marker is missing."""
    operations, modules = record["operations"], record["modules"]
    parts = {
        "run": f"The last run: torch {record['torch']}, Python {record['python']}, {record['date']}.",
        "operations": _totals(operations),
        "modules": _totals(modules),
        "refused": _refused(operations["refused"] + modules["refused"]),
        "wrong": _listed(operations, modules, "wrong"),
        "raw errors": _listed(operations, modules, "raw errors"),
        "no reference": _rows(("why there is no reference", "cases"), list((Counter(operations["no reference"]) + Counter(modules["no reference"])).items())),
        "left out": _rows(("left out because", "operations"), list(record["left out"].items())),
    }
    for name, text in parts.items():
        begin, end = f"<!-- operations: {name} -->", f"<!-- end of operations: {name} -->"
        page, count = re.subn(f"{begin}.*?{end}", lambda _, new=f"{begin}\n{text}\n{end}": new, page, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{PAGE.name} must hold {begin} … {end} once, not {count} times")
    return page


def totals(part: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Engine -> how many cases came out how."""
    counts: dict[str, Counter[str]] = {}
    for by_engine in part["counts"].values():
        for engine, outcomes in by_engine.items():
            counts.setdefault(engine, Counter()).update(outcomes)
    return counts


def _totals(part: Mapping[str, Any]) -> str:
    rows = [(f"`{engine}`", *(count[outcome] for outcome in OUTCOMES), _figure(part, engine)) for engine, count in totals(part).items()]
    return f"{len(part['counts'])} tried.\n\n" + _rows(("", *OUTCOMES, "largest approximate misfit"), rows)


def _figure(part: Mapping[str, Any], engine: str) -> str:
    misfit = part["largest approximate misfit"][engine]
    return f"{misfit:.1e}" if misfit else ""


def _refused(refusals: list[dict[str, Any]]) -> str:
    rows = [(f"`{row['engine']}`", _plain(row["words"]), row["samples"], _names(row["of"])) for row in refusals]
    return _rows(("engine", "first words", "cases", "operations"), rows)


def _listed(operations: Mapping[str, Any], modules: Mapping[str, Any], kind: str) -> str:
    """One row for each operation and engine."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in operations[kind] + modules[kind]:
        groups.setdefault((row["of"], row["engine"]), []).append(row)
    rows = [(f"`{name}`", f"`{engine}`", len(cases), _plain(cases[0]["detail"])) for (name, engine), cases in groups.items()]
    return _rows(("operation", "engine", "cases", "the first"), rows) if rows else "None."


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + more


def _plain(words: str) -> str:
    return re.sub(r"([|*_<>`\[\]])", r"\\\1", words)


def _rows(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    write(read())
