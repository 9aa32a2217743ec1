"""What a report says about several runs at once: which runs belong together, the columns of the table, how a number is written.

Plain functions of records. Knows no file format, no drawing, and not the study that wrote the records.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from inputgrad.report.record import RunRecord

MISSING = "–"
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Column:
    """One column of the headline table: a heading (``group`` spans neighbours), one cell per run, and whether the cell is the best of its column."""

    group: str
    heading: str
    cells: list[str]
    best: list[bool]


def decimals(value: float | None) -> str:
    """Three decimals; scientific where these would hide the number, a dash where there is none.

    >>> decimals(0.45678), decimals(0.0), decimals(0.00001234), decimals(-1234567.0), decimals(None), decimals(float("nan"))
    ('0.457', '0.000', '1.23e-05', '-1.23e+06', '–', 'nan')
    """
    if value is None:
        return MISSING
    if value != 0 and math.isfinite(value) and not 0.0005 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as a reader wants them.

    >>> duration(7.25), duration(95), duration(7260)
    ('7.2 s', '1 min 35 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing; NaN and infinity are not hidden."""
    return sum(values) / len(values) if values else None


def comparable(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """The runs by task and data, in order of first appearance: only runs of one group share a table, an axis and a best value."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.task, record.data), []).append(record)
    return list(groups.values())


def score_name(task: str) -> str:
    """The name of `RunRecord.test_score` for the task."""
    return "accuracy" if task == "classification" else "mean squared error"


def attacks_by_strength(records: Sequence[RunRecord]) -> list[str]:
    """The names of the attacks, the weakest first, by the mean accuracy that they leave over all runs and every ε > 0."""
    left: dict[str, list[float]] = {}
    for record in records:
        for curve in record.attacks:
            pairs = zip(curve.epsilons, curve.accuracies, strict=True)
            left.setdefault(curve.name, []).extend(accuracy for epsilon, accuracy in pairs if epsilon > 0)
    return sorted(left, key=lambda name: -(mean(left[name]) or 0.0))


def accuracy_under(record: RunRecord, attack: str, epsilon: float) -> float | None:
    """The run's accuracy under the named attack at ε, or None where it was not measured."""
    for curve in record.attacks:
        if curve.name == attack and epsilon in curve.epsilons:
            return curve.accuracies[curve.epsilons.index(epsilon)]
    return None


def telling_epsilons(records: Sequence[RunRecord]) -> list[float]:
    """A middle and the largest of the positive ε that every attack of every attacked run has (of any attack's, where they share none)."""
    grids = [{epsilon for epsilon in curve.epsilons if epsilon > 0} for record in records for curve in record.attacks]
    if not grids:
        return []
    epsilons = sorted(set.intersection(*grids) or set.union(*grids))
    return sorted({epsilons[(len(epsilons) - 1) // 2], epsilons[-1]}) if epsilons else []


def extremes(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The weakest and the strongest attack as ``(what it is here, its name)``; one entry where there is one attack."""
    names = attacks_by_strength(records)
    if len(names) < 2:
        return [("attack", name) for name in names]
    return [("weaker", names[0]), ("stronger", names[-1])]


def _column(group: str, heading: str, values: Sequence[float | None], better: Better) -> Column:
    cells = [decimals(value) for value in values]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if better == "neither" or len(known) < 2 or min(known) == max(known):
        return Column(group, heading, cells, [False] * len(cells))
    best = max(known) if better == "higher" else min(known)
    return Column(group, heading, cells, [value == best for value in values])


def headline(records: Sequence[RunRecord]) -> list[Column]:
    """The columns of the table that compares the runs of one group; a column that no run fills is left out."""
    task = records[0].task
    columns = [_column("clean", score_name(task), [record.test_score for record in records], "higher" if task == "classification" else "lower")]
    for epsilon in telling_epsilons(records):
        for word, attack in extremes(records):
            values = [accuracy_under(record, attack, epsilon) for record in records]
            columns.append(_column(f"accuracy at ε = {epsilon:g}", word, values, "higher"))
    measures: list[tuple[str, Callable[[RunRecord], float | None], Better]] = [
        ("before", lambda record: mean(record.gradient_norms_before), "neither"),
        ("after", lambda record: mean(record.gradient_norms), "neither"),
        ("cosine", lambda record: record.mean_cosine, "higher"),
    ]
    for heading, measure, better in measures:
        values = [measure(record) for record in records]
        if any(value is not None for value in values):
            columns.append(_column("mean" if heading == "cosine" else "mean ‖g‖", heading, values, better))
    return [*columns, Column("time", "training", [duration(record.seconds) for record in records], [False] * len(records))]
