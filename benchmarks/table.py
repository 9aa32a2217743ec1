"""The figures as lines of a terminal and as Markdown tables. Pure functions of what ``benchmarks.run`` writes."""

from collections.abc import Mapping
from typing import Any

from benchmarks.jax_ways import INSTALL

Figures = Mapping[str, Any]
COLUMNS = {
    "plain_compiled": "plain, compiled",
    "handwritten": "naive recipe",
    "lean": "lean recipe",
    "double_backward": "`double_backward`",
    "recompute": "`recompute=True`",
    "reverse_over_forward": "`reverse_over_forward`",
    "central": "differences, central",
    "one_sided": "differences, one-sided",
    "weight_as_step": "`weight_as_step`",
    "compiled": "`compiled`",
    "every": "`every=16`",
    "jax": "JAX",
}
CHOICE = ("lean", "double_backward", "compiled", "one_sided", "every")
"""The ways that a user chooses between; the rest stands in a table of its own."""
EXACT = ("double_backward", "reverse_over_forward", "compiled")
WAYS_OF_MEMORY = {"plain": "plain", **{name: title for name, title in COLUMNS.items() if name != "every"}} | {
    "recompute": "`DoubleBackward(recompute=True)`",
    "jax": "JAX",
    "jax_plain": "JAX, plain",
}


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
        return "not supported"
    shown = f"{found['ratio']:.2f}"
    if name == "jax" and "ratio" in row.get("jax_plain", {}):
        shown += f" [{row['jax_plain']['ratio']:.2f}]"
    return form.format(shown, f"{found['error']:.0e}") if "error" in found else shown


def choice(rows: Mapping[str, Figures], floors: Mapping[str, float]) -> str:
    """The ways that a user chooses between: ratio to the plain eager step, beside its arithmetic floor, with the error of the term's own gradient."""
    names = [name for name in CHOICE if any(name in row for row in rows.values())]
    body = [
        [f"`{key}`", f"{row['plain']['milliseconds']:.1f} ms", _floor(floors, key), *(cell(row, name, "{} ({})") for name in names)]
        for key, row in rows.items()
    ]
    return markdown(["workload", "plain", "floor", *(COLUMNS[name] for name in names)], body)


def rest(rows: Mapping[str, Figures], jax: str) -> str:
    """The other ways, in the same form."""
    others = [name for name in COLUMNS if name not in CHOICE]
    names = [name for name in others if any(name in row for row in rows.values()) or (name == "jax" and jax == "not installed")]
    titles = COLUMNS | {"jax": f"JAX ({INSTALL})" if jax == "not installed" else "JAX [its plain step]"}
    return markdown(
        ["workload", *(titles[name] for name in names)], [[f"`{key}`", *(cell(row, name, "{} ({})") for name in names)] for key, row in rows.items()]
    )


def _floor(floors: Mapping[str, float], key: str) -> str:
    return f"{floors[key]:.2f}" if key in floors else "–"


def beside(rows: Mapping[str, Figures], first: str, *, added: bool = False) -> str:
    """A row's ways beside its first one, which is shown in milliseconds: ratios, with the peak memory where it was measured. Below, what the rows are.

    added: with the milliseconds that a step takes more, or less.
    """
    ways = list(dict.fromkeys(way for row in rows.values() for way, cell in row.items() if isinstance(cell, Mapping)))
    others = [way for way in ways if way != first]
    body = [
        [
            f"`{name}`",
            f"{row[first]['milliseconds']:.2f} ms{_peak(row[first])}",
            *(_beside(row, way, first, added) for way in others),
        ]
        for name, row in rows.items()
    ]
    told = "".join(f"\n- `{name}`: {row['what']}" for name, row in rows.items() if "what" in row)  # in the table it would be wider than a page
    return markdown(["row", first, *others], body) + (f"\n{told}" if told else "") if rows else "Not measured yet."


def _beside(row: Figures, way: str, first: str, added: bool) -> str:
    if way not in row or "missing" in row[way]:
        return row.get(way, {}).get("missing", "–")
    more = f" ({row[way]['milliseconds'] - row[first]['milliseconds']:+.2f} ms)".replace("-", "−") if added else ""
    return f"{row[way]['ratio'] / row[first]['ratio']:.2f}{more}{_peak(row[way])}"


def _peak(cell: Figures) -> str:
    return f", {cell['megabytes']:.0f} MB" if "megabytes" in cell else ""


def memory(peaks: Mapping[str, Figures]) -> str:
    body = [
        [title, f"{peaks[name]['megabytes']:.0f} MB", f"{peaks[name]['ratio']:.2f}"] if "megabytes" in peaks[name] else [title, "not supported", "–"]
        for name, title in WAYS_OF_MEMORY.items()
        if name in peaks
    ]
    return markdown(["way", "peak above rest", "to plain"], body)


def first_step(workloads: Mapping[str, Mapping[str, Figures]]) -> str:
    """For each way the megabytes of the first step and, after a slash, of the second."""
    ways = list(dict.fromkeys(way for row in workloads.values() for way in row))

    def shown(found: Figures | None) -> str:
        return "–" if found is None else " / ".join(f"{megabytes:.0f}" for megabytes in found["megabytes"]) if "megabytes" in found else "not supported"

    return markdown(["way", *(f"`{name}`, MB" for name in workloads)], [[way, *(shown(row.get(way)) for row in workloads.values())] for way in ways])


def refusals(rows: Mapping[str, Figures]) -> str:
    """One line for each way that could not serve, with the error's first sentence."""
    lines = [
        f"- `{key}`, {COLUMNS[name]}: {row[name]['refused'].partition('. ')[0][:220]}"
        for key, row in rows.items()
        for name in COLUMNS
        if "refused" in row.get(name, {})
    ]
    return "\n".join(lines or ["Every method ran."])


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
        return "not supported"
    shown = f"{errors[0]:.0e}" if len(errors) == 1 else f"{errors[0]:.0e} to {errors[-1]:.0e}"
    return shown + (f"; {len(cells) - len(errors)} not supported" if len(errors) < len(cells) else "")
