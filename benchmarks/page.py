"""``python -m benchmarks.page``: the tables of docs/benchmarks.md and docs/benchmark_goals.md, written anew from benchmarks/results.json.

Each table stands between its two markers.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import goals, table
from benchmarks.floors import known
from benchmarks.run import RESULTS

SMALL, HIGHER = (Path(__file__).parent / f"{name}.json" for name in ("small_steps", "higher_orders"))

PAGE, GOALS = (Path(__file__).parents[1] / "docs" / f"{name}.md" for name in ("benchmarks", "benchmark_goals"))


def parts(figures: Mapping[str, Any]) -> dict[str, str]:
    """The generated parts of the page by the name of their markers."""
    rows, floors = figures["results"] | figures["scaling"], known()
    return {
        "environment": environment(figures),
        "times": table.choice(figures["results"], floors),
        "other ways": table.rest(figures["results"], figures["environment"]["jax"]),
        "scaling": table.choice(figures["scaling"], floors),
        "memory": table.memory(figures["memory"]),
        "first_step": table.first_step(figures.get("first_step", {})),
        "precision": table.precision(figures.get("precision", {})),
        "refused": table.refusals(rows),
        "small steps": _beside(SMALL, "by hand", added=True),
        "higher orders": _beside(HIGHER, "nested"),
    }


def _beside(path: Path, first: str, *, added: bool = False) -> str:
    """A table of its own run, with the environment of that run below it."""
    figures = json.loads(path.read_text()) if path.exists() else {"results": {}}
    shown = table.beside(figures["results"], first, added=added)
    peers = "".join(f", {title} {version}" for title, version in figures.get("peers", {}).items())
    return f"{shown}\n\n{_where(figures['environment'], peers)}." if figures["results"] else shown


def _where(of: Mapping[str, Any], peers: str) -> str:
    return f"{of['processor']}, {of['cores']} cores, {of['threads']} threads, {of['system']}; Python {of['python']}, torch {of['torch']}{peers}; {of['date']}"


def environment(figures: Mapping[str, Any]) -> str:
    """What was measured, where and when, in two sentences."""
    of = figures["environment"]
    rows = figures["results"] | figures["scaling"]
    disturbed, counted = (sum(row.get(key, 0) for row in rows.values()) for key in ("disturbed_rounds", "counted_though_disturbed"))
    rounds = sorted({row["rounds"] for row in rows.values() if "rounds" in row}) or [0]
    dates = sorted({row.get("date", of["date"]) for row in rows.values()}) or [of["date"]]
    return (
        f"{of['processor']}, {of['cores']} cores, {of['threads']} threads, {of['system']}; Python {of['python']}, torch {of['torch']}, JAX {of['jax']}; "
        f"{' and '.join(dates)}. {rounds[0]} to {rounds[-1]} rounds per workload; "
        f"{disturbed} disturbed rounds were discarded, {counted} were kept because time ran out; the run took "
        f"{figures['seconds'] / 60:.0f} minutes{' (`--quick`)' if figures['quick'] else ''}."
    )


def rewritten(page: str, figures: Mapping[str, Any]) -> str:
    """The page with its generated parts replaced. Raises `ValueError` where a marker is missing."""
    return _filled(page, parts(figures), PAGE)


def rewritten_goals(page: str, figures: Mapping[str, Any]) -> str:
    """The contributors' page, likewise."""
    return _filled(page, {"goals": goals.table(figures, known())}, GOALS)


def _filled(page: str, texts: Mapping[str, str], path: Path) -> str:
    for name, text in texts.items():
        begin, end = f"<!-- bench: {name} -->", f"<!-- end of bench: {name} -->"
        page, count = re.subn(f"{begin}.*?{end}", lambda _, new=f"{begin}\n{text}\n{end}": new, page, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{path.name} must hold {begin} … {end} once, found {count}")
    return page


def main() -> None:
    figures = json.loads(RESULTS.read_text())
    PAGE.write_text(rewritten(PAGE.read_text(), figures))
    GOALS.write_text(rewritten_goals(GOALS.read_text(), figures))


if __name__ == "__main__":
    main()
