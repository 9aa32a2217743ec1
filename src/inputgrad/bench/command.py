"""``inputgrad bench``: the engines on one problem of the user's, as rows and as a table.

A row: median milliseconds, ratio to the plain step, the error of the terms' own parameter gradient; or why the engine does not support it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inputgrad.bench.environment import environment
from inputgrad.bench.problem import Problem
from inputgrad.bench.timing import interleaved
from inputgrad.bench.ways import ENGINES, EXACT, EngineWay, engine_way, refusal, relative
from inputgrad.errors import nearest

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is to be measured."""

    problem: Problem
    engines: list[str]
    rounds: int


def asked(returned: Any, engines: Sequence[str], rounds: int) -> Asked:
    """What a user's callable returned, and the options. Raises `TypeError` and `ValueError` for what cannot be measured."""
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    return Asked(Problem.of(returned), chosen_engines(engines), rounds)


def run(what: Asked, out: Path | None, say: Callable[[str], object]) -> None:
    """Measure, say the table, and write the JSON."""
    rows = measured(what.problem, what.engines, what.rounds)
    say(table(rows))
    if out is not None:
        figures = {"environment": environment(), "loss": loss_of(what.problem), "rounds": what.rounds, "rows": rows}
        out.write_text(json.dumps(figures, indent=1) + "\n")


def chosen_engines(names: Sequence[str]) -> list[str]:
    """The engines named, in the table's order; all where none is named. Raises `ValueError` for an unknown name."""
    wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
    for name in wanted:
        if name not in ENGINES:
            raise ValueError(f"engine {name!r} cannot be measured; {nearest(name, ENGINES)}")
    return [name for name in ENGINES if not wanted or name in wanted]


def measured(problem: Problem, engines: Sequence[str], rounds: int) -> dict[str, Row]:
    """One row a way, the plain step first."""
    problem.plain()
    rows: dict[str, Row] = {"plain": {}}
    ways: dict[str, EngineWay] = {}
    for name in engines:
        way = engine_way(problem.criterion, ENGINES[name], problem.model, problem.inputs, problem.target)
        reason = refusal(way.step)
        rows[name] = {} if reason is None else {"refused": reason}
        if reason is None:
            ways[name] = way
    for name, error in _errors(ways, problem).items():
        rows[name]["error"] = error
    steps: dict[str, Callable[[], object]] = {"plain": problem.plain}
    steps.update({name: way.step for name, way in ways.items()})
    times = interleaved(steps, rounds, warm=1)
    for name in steps:
        rows[name] |= {"milliseconds": 1e3 * times.median(name), "ratio": times.ratio(name, "plain")}
    return rows


def _errors(ways: Mapping[str, EngineWay], problem: Problem) -> dict[str, float | str]:
    """Each engine's error against the best exact one that works, in the dtype given."""
    gradients = {name: way.term_gradient(problem.base_alone) for name, way in ways.items()}
    best = next((name for name in EXACT if name in gradients), None)
    if best is None:
        return {}
    return {name: "reference" if name == best else relative(gradient, gradients[best]) for name, gradient in gradients.items()}


def loss_of(problem: Problem) -> str:
    """The loss in words, without its engine."""
    terms = " + ".join(map(repr, problem.criterion.terms))
    base = problem.criterion.base
    return terms if base is None else f"{getattr(base, '__name__', type(base).__name__)} + {terms}"


def table(rows: Mapping[str, Row]) -> str:
    """The rows in aligned columns, with the reasons of those that cannot run below."""
    lines = [f"{'way':22s}{'ms per step':>12s}{'to plain':>10s}{'error of the term':>20s}"]
    notes = []
    for name, row in rows.items():
        if "refused" in row:
            lines.append(f"{name:22s}{'cannot run':>12s}")
            notes.append(f"{name}: {row['refused']}")
            continue
        error = row.get("error", "")
        shown = f"{error:.0e}" if isinstance(error, float) else error
        lines.append(f"{name:22s}{row['milliseconds']:>12.2f}{row['ratio']:>10.2f}{shown:>20s}".rstrip())
    return "\n".join([*lines, *([""] if notes else []), *notes])
