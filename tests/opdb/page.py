"""``python -m tests.opdb.page``: the tables of docs/operations.md, written anew from docs/operations.json and docs/zoo.json, each between its two markers."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
RECORD, ZOO, PAGE = DOCS / "operations.json", DOCS / "zoo.json", DOCS / "operations.md"
OUTCOMES = ("right", "approximate", "refused", "wrong", "NaN", "raw error", "no reference")
TITLES = tuple("not supported" if outcome == "refused" else outcome for outcome in OUTCOMES)
SHOWN = 8
"""How many operations are named in a row."""


def read(path: Path = RECORD) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def write(record: Mapping[str, Any]) -> None:
    """The record of operations and modules, and the page's tables from it."""
    RECORD.write_text(text_of(record), encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), tables(record)), encoding="utf-8")


def write_zoo(record: Mapping[str, Any]) -> None:
    """The record of the architectures, and the page's tables from it."""
    ZOO.write_text(text_of(record), encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), zoo_tables(record)), encoding="utf-8")


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


def rewritten(page: str, parts: Mapping[str, str]) -> str:
    """The page with these parts replaced. Raises `ValueError` where a marker is missing."""
    for name, text in parts.items():
        begin, end = f"<!-- operations: {name} -->", f"<!-- end of operations: {name} -->"
        page, count = re.subn(f"{begin}.*?{end}", lambda _, new=f"{begin}\n{text}\n{end}": new, page, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{PAGE.name} must hold {begin} … {end} once, not {count} times")
    return page


def tables(record: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the page that come from docs/operations.json."""
    operations, modules = record["operations"], record["modules"]
    return {
        "run": _run(record),
        "operations": _totals(operations),
        "modules": _totals(modules),
        "refused": _refused(operations["refused"] + modules["refused"]),
        "wrong": _listed(operations["wrong"] + modules["wrong"]),
        "NaN": _listed(operations["NaN"] + modules["NaN"]),
        "raw errors": _listed(operations["raw errors"] + modules["raw errors"]),
        "no reference": _rows(("why there is no reference", "cases"), list((Counter(operations["no reference"]) + Counter(modules["no reference"])).items())),
        "left out": _rows(("left out because", "operations"), list(record["left out"].items())),
    }


def zoo_tables(record: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the page that come from docs/zoo.json."""
    rows = [
        (f"{key}", f"`{engine}`", *(outcomes.get(outcome, 0) for outcome in OUTCOMES))
        for key, by_engine in record["counts"].items()
        for engine, outcomes in by_engine.items()
    ]
    packages = [(package, version, record["architectures"][package]) for package, version in record["packages"].items()]
    refused = [{**row, "of": f"{row['package']}: {row['of']}"} for row in record["refused"]]
    wrong = [{**row, "of": f"{row['package']}: {row['of']}"} for row in record["wrong"] + record["NaN"] + record["raw errors"]]
    sampled = f" One architecture of transformers in {record['one in']} was tried." if record["one in"] > 1 else ""
    return {
        "zoo run": _run(record) + sampled + _coarse(record.get("coarse reference", 0)) + _commits(record.get("commits", {})),
        "zoo packages": _rows(("package", "version", "architectures"), packages),
        "zoo": _rows(("", "engine", *TITLES), rows),
        "zoo wrong": _listed(wrong),
        "zoo refused": _listed(refused),
        "zoo left out": _rows(("left out because", "architectures"), [(_plain(words), count) for words, count in record["left out"].items()]),
    }


def _run(record: Mapping[str, Any]) -> str:
    return f"The last run: torch {record['torch']}, Python {record['python']}, {record['date']}."


def _coarse(count: int) -> str:
    if not count:
        return ""
    return f" {count} architectures compute in single precision inside, or bend sharply: their reference has three digits, and right means up to 3e-3."


def _commits(commits: Mapping[str, int]) -> str:
    """Which architectures were judged anew after the library was mended, by number."""
    if len(commits) < 2:
        return ""
    parts = ", ".join(f"{count} on {commit}" for commit, count in commits.items())
    return f" Made in parts, while the library was mended. Architectures by the commit that they were judged on last: {parts} (+: and changes)."


def totals(part: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Engine -> how many cases came out how."""
    counts: dict[str, Counter[str]] = {}
    for by_engine in part["counts"].values():
        for engine, outcomes in by_engine.items():
            counts.setdefault(engine, Counter()).update(outcomes)
    return counts


def _totals(part: Mapping[str, Any]) -> str:
    rows = [(f"`{engine}`", *(count[outcome] for outcome in OUTCOMES), _figure(part, engine)) for engine, count in totals(part).items()]
    return f"{len(part['counts'])} tried.\n\n" + _rows(("", *TITLES, "largest approximate misfit"), rows)


def _figure(part: Mapping[str, Any], engine: str) -> str:
    misfit = part["largest approximate misfit"][engine]
    return f"{misfit:.1e}" if misfit else ""


def _refused(refusals: list[dict[str, Any]]) -> str:
    rows = [(f"`{row['engine']}`", _plain(row["words"]), row["samples"], _names(row["of"])) for row in refusals]
    return _rows(("engine", "first words", "cases", "operations"), rows)


def _listed(cases: list[dict[str, Any]]) -> str:
    """One row for each operation and engine."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in cases:
        groups.setdefault((row["of"], row["engine"]), []).append(row)
    rows = [(_plain(name), f"`{engine}`", len(group), _plain(group[0]["detail"])) for (name, engine), group in groups.items()]
    return _rows(("", "engine", "cases", "the first"), rows) if rows else "None."


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
    write_zoo(read(ZOO))
