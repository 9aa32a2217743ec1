"""``python -m tools.versions``: the tables of docs/versions.md, written anew from docs/versions.json, each between its two markers."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
RECORD, PAGE = DOCS / "versions.json", DOCS / "versions.md"


def read() -> dict[str, Any]:
    """The record: the runs, newest torch first, and the known issues."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def entered(record: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """The record with this run in place of an earlier one on the same torch and the same Python."""
    others = [old for old in record["runs"] if _key(old) != _key(run)]
    return {**record, "runs": sorted([*others, run], key=_key, reverse=True)}


def write(record: Mapping[str, Any]) -> None:
    """The record, and the page's tables from it."""
    RECORD.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


def rewritten(page: str, record: Mapping[str, Any]) -> str:
    """The page with its generated parts replaced. Raises `ValueError` where a marker is missing."""
    for name, text in {"runs": _runs(record["runs"]), "failed": _failed(record["runs"]), "issues": _issues(record["issues"])}.items():
        begin, end = f"<!-- versions: {name} -->", f"<!-- end of versions: {name} -->"
        page, count = re.subn(f"{begin}.*?{end}", lambda _, new=f"{begin}\n{text}\n{end}": new, page, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"{PAGE.name} must hold {begin} … {end} once, found {count}")
    return page


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = [f"| {run['torch']} | {run['python']} | {run['passed']} | {run['failed']} | {run['skipped']} | {run['date']} |" for run in runs]
    return "\n".join(["| torch | Python | passed | failed | skipped | run on |", "| --- | --- | --- | --- | --- | --- |", *rows])


def _failed(runs: Sequence[Mapping[str, Any]]) -> str:
    names = [f"- torch {run['torch']}, Python {run['python']}: `{name}`" for run in runs for name in run["failures"]]
    return "\n".join(names) or "None failed."


def _issues(issues: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(["| torch | issue |", "| --- | --- |", *(f"| {issue['torch']} | {issue['issue']} |" for issue in issues)])


def _key(run: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """The release of torch, without the name of its build, and that of Python up to its second number."""
    torch, python = ([int(number) for number in re.findall(r"\d+", run[name].split("+")[0])] for name in ("torch", "python"))
    return tuple(torch[:3]), tuple(python[:2])


if __name__ == "__main__":
    write(read())
