"""The figures as lines of a terminal and as Markdown tables. Pure functions of what ``benchmarks.run`` writes."""

from collections.abc import Mapping
from typing import Any

from benchmarks.goals import EVERY, GOALS, MEMORY
from benchmarks.jax_ways import INSTALL

Figures = Mapping[str, Any]
COLUMNS = {
    "plain_compiled": "plain, compiled",
    "handwritten": "naive recipe",
    "lean": "lean recipe",
    "double_backward": "`double_backward`",
    "reverse_over_forward": "`reverse_over_forward`",
    "central": "differences, central",
    "one_sided": "differences, one-sided",
    "weight_as_step": "`weight_as_step`",
    "compiled": "`compiled`",
    "every": "`every=16`",
    "jax": "JAX",
}
EXACT = ("double_backward", "reverse_over_forward", "compiled")
OTHERS = ("handwritten", "lean", "jax")
WAYS_OF_MEMORY = {"plain": "plain", **{name: title for name, title in COLUMNS.items() if name != "every"}, "jax": "JAX", "jax_plain": "JAX, plain"}


def header() -> str:
    return f"{'workload':16s}{'plain':>12s}" + "".join(f"{_short(name):>22s}" for name in COLUMNS)


def line(workload: str, row: Figures) -> str:
    return f"{workload:16s}{row['plain']['milliseconds']:>9.1f} ms" + "".join(f"{cell(row, name, '{} ({})'):>22s}" for name in COLUMNS)


def note() -> str:
    return "plain: milliseconds a step; else ratio to it (error of the term's own parameter gradient); JAX: [its own plain step]."


def _short(name: str) -> str:
    return {"reverse_over_forward": "rev-over-forward", "every": "every=16"}.get(name, name)


def cell(row: Figures, name: str, form: str) -> str:
    """One cell: ratio with the error in ``form``, or why there is none."""
    found = row.get(name)
    if found is None:
        return "–"
    if "refused" in found:
        return "refused"
    shown = f"{found['ratio']:.2f}"
    if name == "jax" and "ratio" in row.get("jax_plain", {}):
        shown += f" [{row['jax_plain']['ratio']:.2f}]"
    return form.format(shown, f"{found['error']:.0e}") if "error" in found else shown


def ratios(rows: Mapping[str, Figures], jax: str = "") -> str:
    """The table of times: ratio to the plain eager step, below it the error of the term's own parameter gradient."""
    names = [name for name in COLUMNS if any(name in row for row in rows.values()) or (name == "jax" and jax == "not installed")]
    titles = COLUMNS | {"jax": f"JAX ({INSTALL})" if jax == "not installed" else "JAX [its plain step]"}
    body = [[f"`{key}`", f"{row['plain']['milliseconds']:.1f} ms", *(cell(row, name, "{} ({})") for name in names)] for key, row in rows.items()]
    return markdown(["workload", "plain", *(titles[name] for name in names)], body)


def beside(rows: Mapping[str, Figures], first: str) -> str:
    """A row's ways beside its first one, which is shown in milliseconds: ratios, with the peak memory where it was measured."""
    ways = list(dict.fromkeys(way for row in rows.values() for way, cell in row.items() if isinstance(cell, Mapping)))
    others = [way for way in ways if way != first]
    body = [
        [
            f"`{name}`" + (f": {row['what']}" if "what" in row else ""),
            f"{row[first]['milliseconds']:.2f} ms{_peak(row[first])}",
            *(_beside(row, way, first) for way in others),
        ]
        for name, row in rows.items()
    ]
    return markdown(["row", first, *others], body) if rows else "Not measured yet."


def _beside(row: Figures, way: str, first: str) -> str:
    return f"{row[way]['ratio'] / row[first]['ratio']:.2f}{_peak(row[way])}" if way in row else "–"


def _peak(cell: Figures) -> str:
    return f", {cell['megabytes']:.0f} MB" if "megabytes" in cell else ""


def memory(peaks: Mapping[str, Figures]) -> str:
    body = [
        [title, f"{peaks[name]['megabytes']:.0f} MB", f"{peaks[name]['ratio']:.2f}"] if "megabytes" in peaks[name] else [title, "refused", "–"]
        for name, title in WAYS_OF_MEMORY.items()
        if name in peaks
    ]
    return markdown(["way", "peak above rest", "to plain"], body)


def first_step(workloads: Mapping[str, Mapping[str, Figures]]) -> str:
    """For each way the megabytes of the first step and, after a slash, of the second."""
    ways = list(dict.fromkeys(way for row in workloads.values() for way in row))

    def shown(found: Figures | None) -> str:
        return "–" if found is None else " / ".join(f"{megabytes:.0f}" for megabytes in found["megabytes"]) if "megabytes" in found else "refused"

    return markdown(["way", *(f"`{name}`, MB" for name in workloads)], [[way, *(shown(row.get(way)) for row in workloads.values())] for way in ways])


def best(row: Figures, names: tuple[str, ...]) -> tuple[str, float] | None:
    """The fastest of the ways that served."""
    served = [(row[name]["ratio"], name) for name in names if "ratio" in row.get(name, {})]
    return (min(served)[1], min(served)[0]) if served else None


def goals(figures: Figures) -> str:
    """Goal, ours, the best of the others, and by how much a goal is missed."""
    body = []
    for workload, goal in GOALS.items():
        if (row := figures["results"].get(workload)) and (ours := best(row, EXACT)):
            others = best(row, OTHERS)
            body.append([f"`{workload}`", f"{goal:.2f}", _named(ours), _named(others) if others else "–", _verdict(ours[1], goal)])
    amortised = [row["every"]["ratio"] for row in figures["results"].values() if "every" in row]
    if amortised:
        middle = sorted(amortised)[len(amortised) // 2]
        body.append(["`every=16`, median of the workloads", f"{EVERY:.2f}", f"{middle:.2f} (up to {max(amortised):.2f})", "–", _verdict(middle, EVERY)])
    for kind, names in (("exact", EXACT), ("differences", ("central", "one_sided"))):
        if ours := best(figures["memory"], names):
            others = best(figures["memory"], OTHERS)
            body.append([f"memory, {kind}", f"{MEMORY[kind]:.2f}", _named(ours), _named(others) if others else "–", _verdict(ours[1], MEMORY[kind])])
    return markdown(["figure", "goal, at most", "best of ours", "best of the others", "verdict"], body)


def _named(found: tuple[str, float]) -> str:
    title = {"jax": "JAX"}.get(found[0], COLUMNS[found[0]])
    return f"{found[1]:.2f} ({title})"


def _verdict(value: float, goal: float) -> str:
    return "reached" if round(value, 2) <= goal else f"missed by {round(value, 2) - goal:.2f}"


def refusals(rows: Mapping[str, Figures]) -> str:
    """One line for each way that could not serve, with the error's first sentence."""
    lines = [
        f"- `{key}`, {COLUMNS[name]}: {row[name]['refused'].partition('. ')[0][:220]}"
        for key, row in rows.items()
        for name in COLUMNS
        if "refused" in row.get(name, {})
    ]
    return "\n".join(lines or ["Nothing was refused."])


def markdown(head: list[str], body: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *body])


def precision(rows: Mapping[str, Mapping[str, Figures]]) -> str:
    """The error of the term's own gradient by engine and precision: the range over the workloads."""
    ways = list(dict.fromkeys(name for row in rows.values() for name in row))
    dtypes = list(dict.fromkeys(dtype for row in rows.values() for cells in row.values() for dtype in cells))
    lines = ["| engine | " + " | ".join(dtypes) + " |", "| --- |" + " --- |" * len(dtypes)]
    for name in ways:
        title = {"richardson": "differences, Richardson"}.get(name, COLUMNS.get(name, name))
        lines.append(f"| {title} | " + " | ".join(_range([row[name][dtype] for row in rows.values() if name in row]) for dtype in dtypes) + " |")
    return "\n".join(lines)


def _range(cells: list[Figures]) -> str:
    errors = sorted(cell["error"] for cell in cells if "error" in cell)
    if not errors:
        return "refused"
    shown = f"{errors[0]:.0e}" if len(errors) == 1 else f"{errors[0]:.0e} to {errors[-1]:.0e}"
    return shown + (f"; {len(cells) - len(errors)} refused" if len(errors) < len(cells) else "")
