"""What the figures of one group of runs say, as sentences: runs that coincide, attacks that flatter, figures that are not finite.

Plain functions of records that return plain text; the reports escape it. Knows no file format and no drawing.
"""

import math
import re
from collections.abc import Sequence

from inputgrad.report.compare import accuracy_under, decimals, extremes, telling_epsilons
from inputgrad.report.record import RunRecord

FLATTERED = 0.05
"""From this much accuracy on, the gap between a weaker and a stronger attack is worth a sentence."""


def coincide(one: RunRecord, other: RunRecord) -> bool:
    """Whether everything that was MEASURED of two runs of one model on the same data is equal to the last digit. Losses, names and times may differ."""
    return _measured(one) == _measured(other) and _shared_curves_equal(one, other)


def _measured(record: RunRecord) -> tuple[object, ...]:
    scores = [(epoch.number, epoch.train_score, epoch.test_score) for epoch in record.epochs]
    norms = (record.gradient_norms_before, record.gradient_norms)
    return (record.task, record.data, record.model, record.test_score_before, record.test_score, scores, norms)


def _shared_curves_equal(one: RunRecord, other: RunRecord) -> bool:
    theirs = {curve.name: curve for curve in other.attacks}
    cosines = (one.mean_cosine, other.mean_cosine)
    return all(curve == theirs.get(curve.name, curve) for curve in one.attacks) and (None in cosines or cosines[0] == cosines[1])


def identical_runs(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """The sets of two or more runs that coincide."""
    sets: list[list[RunRecord]] = []
    for record in records:
        for known in sets:
            if coincide(known[0], record):
                known.append(record)
                break
        else:
            sets.append([record])
    return [known for known in sets if len(known) > 1]


def sentences(records: Sequence[RunRecord]) -> list[str]:
    """All that is worth saying about one group of runs, the most important first."""
    return [
        *(_identical(known) for known in identical_runs(records)),
        *_flattering(records),
        *_short_walk(records),
        *(f"{_quoted(record)} ended with figures that are not finite: its training diverged." for record in records if _diverged(record)),
    ]


def _quoted(record: RunRecord) -> str:
    return f"“{record.name if len(record.name) <= 60 else record.name[:59] + '…'}”"


def _identical(known: Sequence[RunRecord]) -> str:
    names = [_quoted(record) for record in known]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    one = known[0]
    measured = [f"{'accuracy' if one.task == 'classification' else 'error'} after every epoch"]
    measured += [f"{len(one.gradient_norms)} input-gradient norms"] if one.gradient_norms else []
    measured += ["accuracy under every attack they share"] if one.attacks else []
    figures = f"{', '.join(measured[:-1])} and {measured[-1]}" if len(measured) > 1 else measured[0]
    if len({record.loss for record in known}) == 1:
        return f"{listed} have the same loss and are identical to the last digit ({figures}): the training repeats exactly."
    return f"{listed} are identical to the last digit ({figures}): what sets their losses apart changed nothing in the training."


def _flattering(records: Sequence[RunRecord]) -> list[str]:
    attacks, epsilons = extremes(records), telling_epsilons(records)
    if len(attacks) < 2 or not epsilons:
        return []
    gaps: list[tuple[float, RunRecord, float, float]] = []
    for record in records:
        weak, strong = (accuracy_under(record, name, epsilons[-1]) for _, name in attacks)
        if weak is not None and strong is not None and weak - strong >= FLATTERED:
            gaps.append((weak - strong, record, weak, strong))
    if not gaps:
        return []
    _, record, weak, strong = max(gaps, key=lambda gap: gap[0])
    return [
        f"The weaker attack overestimates robustness: at ε = {epsilons[-1]:g}, {_quoted(record)} has an accuracy of {decimals(weak)} under it, "
        f"and {decimals(strong)} under the stronger one. Judge robustness by the stronger one."
    ]


def _short_walk(records: Sequence[RunRecord]) -> list[str]:
    """foolbox's Linf PGD steps 1/30 of ε unless told otherwise, so that fewer than 30 steps cannot reach the edge of the ball."""
    for name in dict.fromkeys(curve.name for record in records for curve in record.attacks):
        steps = re.search(r"LinfPGD\(.*?steps=(\d+)", name)
        if steps and "stepsize" not in name and 0 < int(steps[1]) < 30:
            return [f"{name} takes foolbox's default step, 1/30 of ε: its {int(steps[1])} steps cover at most {int(steps[1]) / 30:.0%} of ε."]
    return []


def _diverged(record: RunRecord) -> bool:
    figures = [record.test_score, *record.gradient_norms, *(epoch.loss for epoch in record.epochs[-1:])]
    return not all(math.isfinite(figure) for figure in figures)
