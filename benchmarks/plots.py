"""``python -m benchmarks.plots``: two pictures of benchmarks/results.json, docs/_static/bench_time.svg and bench_memory.svg. Identical at each rerun."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.run import RESULTS

FOLDER = Path(__file__).parents[1] / "docs" / "_static"
WAYS = {
    "lean": ("handwritten, lean", "#9a9a9a"),
    "jax": ("JAX", "#d9a441"),
    "double_backward": ("double_backward", "#2b5c8a"),
    "compiled": ("compiled", "#1b9e77"),
    "one_sided": ("differences, one-sided", "#c0504d"),
}
MEMORY = {"handwritten": "naive recipe", "lean": "lean recipe", "jax": "JAX", "double_backward": "double_backward", "compiled": "compiled"} | {
    "central": "differences, central",
    "one_sided": "differences, one-sided",
    "plain": "plain step",
}
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "inputgrad", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def time_plot(figures: Mapping[str, Any]) -> Figure:
    """Ratios to the plain step: the workloads as groups of bars, and the scaling series."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    for axes, rows, title in ((upper, figures["results"], "workloads"), (lower, figures["scaling"], "scaling of the MLP")):
        _bars(axes, rows)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_ylabel("time, plain step = 1")
    upper.legend(ncols=len(WAYS), frameon=False, loc="upper left", bbox_to_anchor=(0, 1.25))
    return figure


def _bars(axes: Axes, rows: Mapping[str, Mapping[str, Any]]) -> None:
    width = 0.8 / len(WAYS)
    for index, (way, (label, colour)) in enumerate(WAYS.items()):
        places = [place + (index - (len(WAYS) - 1) / 2) * width for place in range(len(rows))]
        heights = [row.get(way, {}).get("ratio", 0.0) for row in rows.values()]
        axes.bar(places, heights, width, color=colour, label=label)
    axes.axhline(1, color="black", linewidth=0.7)
    axes.set_xticks(range(len(rows)), [name.replace("_", "\n", 1) for name in rows])  # two lines: long names do not run into each other


def memory_plot(figures: Mapping[str, Any]) -> Figure:
    """Peak memory of each way above the resting process."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    shown = {label: figures["memory"][way]["megabytes"] for way, label in MEMORY.items() if "megabytes" in figures["memory"].get(way, {})}
    colours = ["#1b9e77" if label.startswith(("differences", "double", "compiled")) else "#9a9a9a" for label in shown]
    bars = axes.barh(list(shown), list(shown.values()), color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("peak above the resting process, MB")
    return figure


def main() -> None:
    figures = json.loads(RESULTS.read_text())
    with mpl.rc_context(SETTINGS):
        for name, figure in (("time", time_plot(figures)), ("memory", memory_plot(figures))):
            figure.savefig(FOLDER / f"bench_{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
