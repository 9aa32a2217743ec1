"""The figures to reach, and the table that holds what was measured against them.

The goal of a workload is its arithmetic floor (`benchmarks.floors`) times SLACK, or the earlier round number where that is lower and can be reached.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.table import COLUMNS, EXACT, Figures, markdown

SLACK = 1.05
EARLIER: dict[str, float] = {"forces": 1.4, "transformer_64": 1.7, "critic_mlp": 1.5, "critic_conv": 1.95}
"""Goals from before floors were counted. Those of `mlp` (2.05) and `cnn_32` (1.95) lay below the floor of steps that are products almost alone."""
EVERY = 1.12
MEMORY = {"exact": 1.3, "differences": 1.1}
OTHERS = ("handwritten", "lean", "jax")
ENGINES = {"exact": (*EXACT, "recompute"), "differences": ("central", "one_sided")}


def goal(workload: str, floors: Mapping[str, float]) -> float | None:
    """The ratio to reach; None where no floor was counted."""
    if workload not in floors:
        return None
    return min(floors[workload] * SLACK, EARLIER.get(workload, float("inf")))


def best(row: Figures, names: tuple[str, ...]) -> tuple[str, float] | None:
    """The fastest of the ways that served."""
    served = [(row[name]["ratio"], name) for name in names if "ratio" in row.get(name, {})]
    return (min(served)[1], min(served)[0]) if served else None


def table(figures: Figures, floors: Mapping[str, float]) -> str:
    """Floor, goal, ours, the best of the others, and by how much a goal is missed."""
    body = []
    for workload, row in (figures["results"] | figures["scaling"]).items():
        ours, others, wanted = best(row, EXACT), best(row, OTHERS), goal(workload, floors)
        if ours and wanted is not None:
            cells = [f"{floors[workload]:.2f}", f"{wanted:.2f}", _named(ours), f"{ours[1] / floors[workload]:.2f}", _named(others) if others else "–"]
            body.append([f"`{workload}`", *cells, _verdict(ours[1], wanted)])
    amortised = [row["every"]["ratio"] for row in figures["results"].values() if "every" in row]
    if amortised:
        middle = sorted(amortised)[len(amortised) // 2]
        cells = ["–", f"{EVERY:.2f}", f"{middle:.2f} (up to {max(amortised):.2f})", "–", "–"]
        body.append(["`every=16`, median of the workloads", *cells, _verdict(middle, EVERY)])
    for kind, names in ENGINES.items():
        if ours := best(figures["memory"], names):
            others = best(figures["memory"], OTHERS)
            cells = ["–", f"{MEMORY[kind]:.2f}", _named(ours), "–", _named(others) if others else "–"]
            body.append([f"memory, {kind}", *cells, _verdict(ours[1], MEMORY[kind])])
    return markdown(["figure", "floor", "goal, at most", "best engine", "to the floor", "best of JAX and by hand", "verdict"], body)


def _named(found: tuple[str, float]) -> str:
    title: Any = {"jax": "JAX"}.get(found[0], COLUMNS[found[0]])
    return f"{found[1]:.2f} ({title})"


def _verdict(value: float, wanted: float) -> str:
    return "reached" if round(value, 2) <= round(wanted, 2) else f"missed by {round(value, 2) - wanted:.2f}"
