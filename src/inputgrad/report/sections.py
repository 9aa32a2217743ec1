"""What each section of the page shows, ready for the template: figures drawn, pictures encoded, texts still plain (the template escapes them).

Knows the records, the charts and the pixels. Knows no HTML, and not the study.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inputgrad.report import charts, pixels
from inputgrad.report.charts import Run
from inputgrad.report.compare import MISSING, attacks_by_strength, decimals, mean
from inputgrad.report.record import RunRecord
from inputgrad.report.sentences import identical_runs
from inputgrad.report.svg import RUN_COLOURS

MOST_STEPS = 9
"""Of a longer path each second, third … picture is shown, and the last, so that about this many are."""


@dataclass(frozen=True)
class Row:
    """A strip of pictures: whose it is, what stands beside and under it, and what it shows in words."""

    head: str
    colour: int | None
    note: str
    image: str
    description: str
    captions: list[str]


@dataclass(frozen=True)
class Grid:
    """Rows of strips under common column headings."""

    title: str
    colour: int | None
    headings: list[str]
    rows: list[Row]
    note: str


def placed(groups: Sequence[Sequence[RunRecord]]) -> list[list[Run]]:
    """The records of each group with their places on the page, and how many later ones lie exactly on each."""
    result, index = [], 0
    for group in groups:
        runs = []
        for record in group:
            runs.append(Run(record, index, _echoes(record, group)))
            index += 1
        result.append(runs)
    return result


def _echoes(record: RunRecord, group: Sequence[RunRecord]) -> int:
    for known in identical_runs(group):
        for place, one in enumerate(known):
            if one is record:
                return len(known) - 1 - place
    return 0


def loss_charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One chart of the loss's parts per run, on common axes, with its legend: ``(part, CSS colour, dash)``."""
    shown = [run for run in runs if charts.part_names(run.record)]
    limits = charts.part_limits([run.record for run in shown])
    return [{"run": run, "svg": charts.parts(run, limits), "legend": _part_legend(run), "total": len(charts.part_names(run.record)) > 1} for run in shown]


def _part_legend(run: Run) -> list[tuple[str, str, int]]:
    styles = [(name, "ink" if colour not in RUN_COLOURS else f"run-{RUN_COLOURS.index(colour)}", dash) for name, colour, dash in charts.part_styles(run)]
    return [*styles, ("total", "muted", 0)] if len(styles) > 1 else styles


def score_chart(runs: Sequence[Run]) -> tuple[str, str] | None:
    """The chart of the held-out score over the epochs and a remark; None without epochs."""
    shown = [run for run in runs if run.record.epochs]
    return charts.scores(shown) if shown else None


def attack_chart(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The chart of accuracy against ε and its attacks, the weakest first, with their dash; None where nothing was attacked."""
    shown = [run for run in runs if run.record.attacks]
    if not shown:
        return None
    names = attacks_by_strength([run.record for run in shown])
    dashes = [0 if strength == len(names) - 1 else 1 + strength % 3 for strength in range(len(names))]
    words = ["" if len(names) == 1 else "strongest" if dash == 0 else "weaker" for dash in dashes]
    return {"svg": charts.robustness(shown), "attacks": list(zip(names, words, dashes, strict=True))}


def norm_charts(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The histograms of input-gradient norms on one axis; None where no norm is finite and positive."""
    axis = charts.norm_axis([run.record for run in runs])
    if axis is None:
        return None
    edges, scale = axis
    shown = [run for run in runs if run.record.gradient_norms or run.record.gradient_norms_before]
    return {"rows": [(run, charts.norms(run, edges, scale), _change(run.record)) for run in shown], "scale": scale}


def _change(record: RunRecord) -> list[str]:
    """Mean and median before and after: they part where a few samples carry nearly all of the mean."""
    sets = (record.gradient_norms_before, record.gradient_norms)
    means, medians = [decimals(mean(norms)) for norms in sets], [decimals(statistics.median(norms) if norms else None) for norms in sets]
    return [f"mean {' → '.join(means)}", f"median {' → '.join(medians)}"]


def gradient_grids(runs: Sequence[Run]) -> list[Grid]:
    """Input-gradient pictures: one grid for all runs that were shown the same samples, the samples on top, a row per run."""
    same: list[list[Run]] = []
    for run in runs:
        if run.record.pictures is None or not run.record.pictures.inputs:
            continue
        known = next((group for group in same if group[0].record.pictures and group[0].record.pictures.inputs == run.record.pictures.inputs), None)
        if known is None:
            same.append([run])
        else:
            known.append(run)
    return [_gradient_grid(group) for group in same]


def _gradient_grid(runs: Sequence[Run]) -> Grid:
    shown = [(run, run.record.pictures) for run in runs if run.record.pictures is not None]
    first = shown[0][1]
    low, high = pixels.grey_range(first.inputs)
    spread = f"black {low:g}, white {high:g}"
    rows = [Row("input", None, spread, pixels.grey_strip(first.inputs, low, high), f"The inputs of {len(first.inputs)} held-out samples", [])]
    for run, pictures in shown:
        scale = pixels.colour_range(pictures.gradients)
        strip = pixels.signed_strip(pictures.gradients, scale)
        description = f"Input gradients of {run.record.name} at these samples, between −{decimals(scale)} and {decimals(scale)}"
        rows.append(Row(run.record.name, run.index, f"±{decimals(scale)}", strip, description, []))
    scores = dict.fromkeys(pictures.score for _, pictures in shown)
    return Grid("", None, first.labels, rows, " / ".join(scores))


def path_grids(runs: Sequence[Run]) -> list[Grid]:
    """The path that following the input gradient takes: one grid per run, a row per sample, a column per step, the score under each."""
    return [_path_grid(run) for run in runs if run.record.path is not None and run.record.path.images]


def _path_grid(run: Run) -> Grid:
    path = run.record.path
    assert path is not None
    count = len(path.images[0])
    steps = [*range(0, count - 1, max(1, math.ceil((count - 1) / (MOST_STEPS - 1)))), count - 1]
    low, high = pixels.grey_range([image for images in path.images for image in images])
    rows = []
    for sample, (images, scores) in enumerate(zip(path.images, path.scores, strict=True)):
        strip = pixels.grey_strip([images[step] for step in steps], low, high)
        description = (
            f"Sample {sample + 1} moved by {run.record.name}: the score goes from {decimals(scores[0])} to {decimals(scores[-1])} in {count - 1} steps"
        )
        rows.append(Row(_sample_name(run.record, sample), None, "", strip, description, [decimals(scores[step]) for step in steps]))
    note = f"Score: {path.score}; step size {path.step_size:g}; black {low:g}, white {high:g}"
    return Grid(run.record.name, run.index, [str(step) for step in steps], rows, note)


def _sample_name(record: RunRecord, sample: int) -> str:
    """The label of a path's sample where the pictures show the same sample, else its number."""
    pictures, path = record.pictures, record.path
    if pictures and path and sample < len(pictures.inputs) and pictures.inputs[sample] == path.images[sample][0]:
        return f"label {pictures.labels[sample]}"
    return f"sample {sample + 1}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names and JSON-like values.

    >>> flat({"optimizer": {"lr": 0.1}, "hidden": [64, 64], "name": "mlp"})
    {'optimizer.lr': '0.1', 'hidden': '[64, 64]', 'name': 'mlp'}
    """
    result: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return result


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The settings that are not the same in all runs: ``(name, a value per run)``."""
    settings = [flat(run.record.settings) for run in runs]
    names = dict.fromkeys(name for setting in settings for name in setting)
    rows = [(name, [setting.get(name, MISSING) for setting in settings]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
