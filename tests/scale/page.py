"""``python -m tests.scale.page``: the matrix of docs/scale_matrix.md. ``--measure`` takes the figures anew first, a few minutes.

The figures lie in matrix.json beside this file.
"""

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests import limits
from tests.scale import cells
from tests.scale.losses import LOSSES
from tests.scale.spawn import spawned

PAGE = Path(__file__).parents[2] / "docs" / "scale_matrix.md"
FIGURES = Path(__file__).with_name("matrix.json")


def measured() -> dict[str, Any]:
    """Every cell, of two processes and of one."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        several = spawned("tests.scale.ranks", Path(folder), cells.RANKS, "whole", limit=limits.WHOLE_MATRIX)
    rows = [*cells.cells(cells.ALONE, quick=False)]
    for first, second in zip(several[0]["rows"], several[1]["rows"], strict=True):
        rows.append({**first, "error": max(first["error"], second["error"])} if "error" in first else first)
    return {"torch": torch.__version__.split("+")[0], "cells": rows}


def matrix(figures: Mapping[str, Any]) -> str:
    """One table a loss would be long: one row a layout and engine, one column a loss; the reasons of the refusals numbered below."""
    found = {(row["layout"], row["engine"], row["loss"]): row for row in figures["cells"]}
    reasons: dict[str, int] = {}
    lines = ["| layout | engine | " + " | ".join(loss.title for loss in LOSSES.values()) + " |", "| --- | --- |" + " --- |" * len(LOSSES)]
    for layout, title in cells.LAYOUTS.items():
        for engine in cells.ENGINES:
            shown = [_shown(found[layout, engine, name], reasons) for name in LOSSES]
            lines.append(f"| {title} | `{engine}` | " + " | ".join(shown) + " |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines)


def _shown(row: Mapping[str, Any], reasons: dict[str, int]) -> str:
    if "refused" in row:
        return f"not supported ({reasons.setdefault(_reason(row['refused']), len(reasons) + 1)})"
    told = [_reason(text) for text in row["told"]]
    marks = "".join(f" ({reasons.setdefault(text, len(reasons) + 1)})" for text in told)
    return ("exact" if row["error"] < 1e-14 else f"{row['error']:.0e}") + marks


def _reason(text: str) -> str:
    """Without the model's name, torch's own words and the sizes, which differ from cell to cell."""
    text = re.sub(r" \(torch: .*?'\)\.(?= engine=)", ".", text, flags=re.DOTALL)
    text = re.sub(r"\b(FSDP)?(Sequential|Energy)\b", "the model", text)
    text = re.sub(r"by \d(\.\d)?e-\d+", "by more than rounding", text)
    return text.replace("|", "\\|").strip().replace("\n", " ")


def rewritten(text: str, figures: Mapping[str, Any]) -> str:
    """The page with its matrix replaced. Raises `ValueError` where a marker is missing."""
    begin, end = "<!-- scale: matrix -->", "<!-- end of scale: matrix -->"
    made = f"Measured with torch {figures['torch']}.\n\n{matrix(figures)}"
    text, count = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{made}\n{end}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PAGE.name} must hold {begin} … {end} once, found {count}")
    return text


def main() -> None:
    if "--measure" in sys.argv:
        FIGURES.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
