"""The charts of the report: each takes records and gives one ``<svg>`` element.

Names of runs and terms are never drawn: the page's legends carry them. Knows nothing of the page, and not the study.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from inputgrad.report.compare import attacks_by_strength, decimals, mean, score_name
from inputgrad.report.record import AttackCurve, RunRecord
from inputgrad.report.svg import INK, MUTED, PAPER, RUN_COLOURS, RUN_MARKERS, chart, logarithmic, plain_numbers

DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]
WIDE, SMALL = (480, 300), (300, 200)
_BINS = 36


@dataclass(frozen=True)
class Run:
    """A record with the place among all runs of the page that gives it its colour; ``echoes``: how many later runs lie exactly on it in every chart."""

    record: RunRecord
    index: int
    echoes: int = 0

    @property
    def colour(self) -> str:
        return RUN_COLOURS[self.index % len(RUN_COLOURS)]

    @property
    def marker(self) -> str:
        return RUN_MARKERS[(self.index + self.index // len(RUN_COLOURS)) % len(RUN_MARKERS)]

    @property
    def width(self) -> float:
        """A run that others lie on is drawn wider, so that its colour shows on both sides of theirs."""
        return 1.8 + 3.4 * self.echoes


def parts(run: Run, limits: tuple[float, float, bool] | None) -> str:
    """The parts of the run's loss over its epochs. limits: from `part_limits`, shared by the runs that are compared."""
    epochs = run.record.epochs
    numbers = [epoch.number for epoch in epochs]

    def draw(axes: Axes) -> None:
        if len(part_names(run.record)) > 1:
            axes.plot(numbers, [epoch.loss for epoch in epochs], color=MUTED, linewidth=1.0)
        for name, colour, dash in part_styles(run):
            axes.plot(numbers, [epoch.parts.get(name, math.nan) for epoch in epochs], color=colour, linestyle=DASHES[dash], marker=_alone(epochs))
        _limit(axes, limits)
        axes.set_xlabel("epoch")
        plain_numbers(axes, whole_x=True)

    last = ", ".join(f"{name} {decimals(value)}" for name, value in epochs[-1].parts.items())
    return chart(draw, SMALL, f"Parts of the loss of {run.record.name} over {len(epochs)} epochs; at the end: {last}", f"parts-{run.index}", (48, 10, 8, 42))


def part_names(record: RunRecord) -> list[str]:
    """The parts of the loss in order of first appearance."""
    return list(dict.fromkeys(name for epoch in record.epochs for name in epoch.parts))


def part_styles(run: Run) -> list[tuple[str, str, int]]:
    """``(part, colour, dash)``: the base loss in ink, the terms in the run's colour with a dash pattern each."""
    terms = [name for name in part_names(run.record) if name != "base"]
    base = [("base", INK, 0)] if "base" in part_names(run.record) else []
    return base + [(name, run.colour, index % len(DASHES)) for index, name in enumerate(terms)]


def part_limits(records: Sequence[RunRecord]) -> tuple[float, float, bool] | None:
    """``(low, high, logarithmic)`` for all charts of parts, or None where nothing finite was recorded."""
    values = [value for record in records for epoch in record.epochs for value in [*epoch.parts.values(), epoch.loss]]
    return _limits(values)


def scores(runs: Sequence[Run]) -> tuple[str, str]:
    """The score on held-out data over the epochs, and a remark where the axis is cut."""
    task = runs[0].record.task
    values = [epoch.test_score for run in runs for epoch in run.record.epochs if math.isfinite(epoch.test_score)]
    floor = _floor([run.record.epochs[-1].test_score for run in runs if run.record.epochs]) if task == "classification" else -math.inf

    def draw(axes: Axes) -> None:
        for run in runs:
            epochs = run.record.epochs
            axes.plot([epoch.number for epoch in epochs], [epoch.test_score for epoch in epochs], **_look(run, len(epochs)))
        if task == "classification":
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            axes.set_ylim(max(floor, min(values, default=0.0) - 0.02), min(1.005, max(values, default=1.0) + 0.02))
        else:
            _limit(axes, _limits(values))
        axes.set_xlabel("epoch")
        plain_numbers(axes, whole_x=True)

    last = "; ".join(f"{run.record.name} {decimals(run.record.test_score)}" for run in runs)
    remark = f"The axis starts at {floor:.2f}; earlier epochs below it are cut." if min(values, default=floor) < floor else ""
    return chart(draw, WIDE, f"Held-out {score_name(task)} over the epochs; at the end: {last}", f"scores-{runs[0].index}"), remark


def robustness(runs: Sequence[Run]) -> str:
    """Accuracy against ε for every run and attack: the strongest attack solid, the weaker ones dashed."""
    names = attacks_by_strength([run.record for run in runs])

    def draw(axes: Axes) -> None:
        for run in runs:
            for curve in run.record.attacks:
                look = _look(run, len(curve.epsilons), every=1)
                axes.plot(*_points(curve), **look | _weaker(names.index(curve.name), len(names), run))
        axes.set_ylim(-0.02, 1.02)
        _tick_at(axes, sorted({epsilon for run in runs for curve in run.record.attacks for epsilon in curve.epsilons}))
        axes.set_xlabel("ε")
        plain_numbers(axes)

    ends = [
        f"{run.record.name} {decimals(_points(curve)[1][-1])}" for run in runs for curve in run.record.attacks if curve.name == names[-1] and curve.epsilons
    ]
    return chart(draw, WIDE, f"Accuracy under attack against ε; at the largest ε under {names[-1]}: {'; '.join(ends)}", f"robustness-{runs[0].index}")


def norms(run: Run, edges: Sequence[float], scale: str) -> str:
    """The run's input-gradient norms on common axes: before training as an outline, after it filled. scale: ``"log"`` or ``"linear"``."""

    def draw(axes: Axes) -> None:
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.06)
        if scale == "log":
            logarithmic(axes, "x")
        axes.stairs(heights(run.record.gradient_norms, edges), edges, fill=True, color=run.colour, alpha=0.55, linewidth=0)
        axes.stairs(heights(run.record.gradient_norms_before, edges), edges, color=INK, linewidth=1.2)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        plain_numbers(axes)

    before, after = mean(run.record.gradient_norms_before), mean(run.record.gradient_norms)
    description = f"Input-gradient norms of {run.record.name}: mean {decimals(before)} before training, {decimals(after)} after"
    return chart(draw, (480, 92), description, f"norms-{run.index}", (8, 8, 6, 26))


def norm_axis(records: Sequence[RunRecord]) -> tuple[list[float], str] | None:
    """Common bin edges and the axis' scale for all norms of a group; None where no finite norm is. Zeros and outliers below fall into the first bin."""
    values = sorted(norm for record in records for norm in [*record.gradient_norms_before, *record.gradient_norms] if math.isfinite(norm) and norm > 0)
    if not values:
        return None
    low, high = max(values[len(values) // 50], values[-1] * 1e-12), values[-1]
    if high > 20 * low:
        ratio = math.log(high * 1.05 / low)
        return [low * math.exp(ratio * index / _BINS) for index in range(_BINS + 1)], "log"
    return [high * 1.05 * index / _BINS for index in range(_BINS + 1)], "linear"


def heights(values: Sequence[float], edges: Sequence[float]) -> list[float]:
    """How many ``values`` fall into each bin, as a share of the fullest; what lies outside counts in the first and last, what is not finite nowhere."""
    counts = [0] * (len(edges) - 1)
    for value in filter(math.isfinite, values):
        position = sum(value >= edge for edge in edges[1:-1])
        counts[position] += 1
    return [count / max(1, *counts) for count in counts]


def _points(curve: AttackCurve) -> tuple[list[float], list[float]]:
    pairs = sorted(zip(curve.epsilons, curve.accuracies, strict=True))
    return [epsilon for epsilon, _ in pairs], [accuracy for _, accuracy in pairs]


def _look(run: Run, points: int, every: int | None = None) -> dict[str, Any]:
    stride = every or max(1, points // 6)
    return {
        "color": run.colour,
        "linewidth": run.width,
        "marker": run.marker,
        "markersize": 6 + 3 * run.echoes,
        "markeredgecolor": PAPER,
        "markeredgewidth": 0.8,
        "markevery": (run.index % stride, stride),
    }


def _weaker(strength: int, count: int, run: Run) -> dict[str, Any]:
    if strength == count - 1:
        return {}
    return {"linestyle": DASHES[1 + strength % 3], "linewidth": 1.2 + 2.4 * run.echoes, "markersize": 4 + 3 * run.echoes}


def _alone(points: Sequence[object]) -> str:
    """A single point has no line to be seen by."""
    return "o" if len(points) == 1 else ""


def _tick_at(axes: Axes, values: Sequence[float]) -> None:
    """Ticks at the measured values themselves, where their labels have room."""
    gaps = [after - before for before, after in itertools.pairwise(values)]
    if gaps and min(gaps) > 0.11 * (values[-1] - values[0]):
        axes.set_xticks(values)


def _floor(finals: Sequence[float]) -> float:
    worst = min(filter(math.isfinite, finals), default=0.0)
    return max(0.0, math.floor((worst - 0.15) * 20) / 20)


def _limits(values: Sequence[float]) -> tuple[float, float, bool] | None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if low > 0 and high > 20 * low:
        return low / 1.3, high * 1.3, True
    margin = 0.05 * (high - low) or max(abs(high), 1.0) * 0.1
    return min(low - margin, 0.0) if low < 0 or low < high / 4 else low - margin, high + margin, False


def _limit(axes: Axes, limits: tuple[float, float, bool] | None) -> None:
    if limits is not None:
        axes.set_ylim(limits[0], limits[1])
        if limits[2]:
            logarithmic(axes, "y")
