"""All operations and modules, or some of them: what came of each case, counted into the record that the page is made of."""

import datetime
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from tests.opdb import modules, operations
from tests.opdb.judging import BAD, ENGINES, LAPLACIAN, NAN, OUTCOMES, RAW, REFUSED, WRONG, Judged, judged, judged_at_third_order

COLUMNS = (*ENGINES, LAPLACIAN)


def of_operation(name: str) -> Iterator[Judged]:
    """Every case of an operation, at second order on each engine, and at third by the Laplacian."""
    for case in operations.cases(name):
        yield judged(case)
        yield judged_at_third_order(case)


def of_module(name: str) -> Iterator[Judged]:
    """Every case of a module, at third order; tests/core/test_module_db*.py are the second."""
    for case in modules.cases(name):
        yield judged_at_third_order(case)


def bad(cases: Iterable[Judged]) -> dict[str, str]:
    """Where a case is wrong, no number, or raises from inside: engine -> which of these, and what it is in the first such sample."""
    first: dict[str, str] = {}
    for one in cases:
        for engine, verdict in one.verdicts.items():
            if verdict.outcome in BAD:
                first.setdefault(engine, f"{verdict.outcome}, sample {one.case.sample}: {verdict.detail or f'misfit {verdict.misfit:.1e}'}")
    return first


def record(of_operations: Mapping[str, list[Judged]], of_modules: Mapping[str, list[Judged]]) -> dict[str, Any]:
    """What docs/operations.json holds."""
    left_out = Counter(operations.why_left_out(info) for info in operations.op_db)
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "left out": {operations.LEFT_OUT[reason]: count for reason, count in left_out.items() if reason},
        "operations": _part(of_operations, COLUMNS),
        "modules": _part(of_modules, (LAPLACIAN,)),
    }


def _part(results: Mapping[str, list[Judged]], columns: tuple[str, ...]) -> dict[str, Any]:
    everything = [one for cases in results.values() for one in cases]
    return {
        "counts": {name: {engine: _counts(cases, engine) for engine in columns} for name, cases in results.items()},
        "largest approximate misfit": {engine: _largest(everything, engine) for engine in columns},
        "no reference": dict(Counter(one.no_reference for one in everything if one.no_reference).most_common()),
        "refused": _refusals(everything),
        "wrong": _listed(everything, WRONG),
        "NaN": _listed(everything, NAN),
        "raw errors": _listed(everything, RAW),
    }


def _counts(cases: Iterable[Judged], engine: str) -> dict[str, int]:
    counts = Counter(one.verdicts[engine].outcome for one in cases if engine in one.verdicts)
    return {outcome: counts[outcome] for outcome in OUTCOMES if counts[outcome]}


def _largest(cases: Iterable[Judged], engine: str) -> float:
    return max((verdict.misfit for one in cases if (verdict := one.verdicts.get(engine)) and verdict.outcome == "approximate"), default=0.0)


def _refusals(cases: Iterable[Judged]) -> list[dict[str, Any]]:
    """By engine and first words: how many samples, of which operations."""
    groups: dict[tuple[str, str], Counter[str]] = {}
    for one in cases:
        for engine, verdict in one.verdicts.items():
            if verdict.outcome == REFUSED:
                groups.setdefault((engine, verdict.detail), Counter())[one.case.name] += 1
    return [{"engine": engine, "words": words, "samples": names.total(), "of": sorted(names)} for (engine, words), names in sorted(groups.items())]


def _listed(cases: Iterable[Judged], outcome: str) -> list[dict[str, Any]]:
    listed = [(one, engine, verdict) for one in cases for engine, verdict in one.verdicts.items() if verdict.outcome == outcome]
    return [
        {"of": one.case.name, "sample": one.case.sample, "engine": engine, "detail": verdict.detail or f"misfit {verdict.misfit:.1e}"}
        for one, engine, verdict in listed
    ]
