"""``python -m benchmarks.run [--quick] [WORKLOAD ...]``: ratios to the plain step, with the gradient's error beside every time, and peak memory.

The figures go to benchmarks/results.json, with the environment, after each row.
"""

import argparse
import json
import re
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks import first_step, jax_ways, memory
from benchmarks.table import header, line, note
from benchmarks.ways import EVERY, FEW, Case, Way
from benchmarks.workloads import QUICK, SCALING, WORKLOADS
from inputgrad.bench.environment import environment
from inputgrad.bench.timing import interleaved
from inputgrad.bench.ways import refusal, relative

RESULTS = Path(__file__).parent / "results.json"
Row = dict[str, Any]


def without_paths(reason: str) -> str:
    """An error's text without the paths of the machine that it was raised on."""
    return re.sub(r"(?:/[\w.+-]+){2,}", "(a file)", reason)


def measured(case: Case, rounds: int, only: tuple[str, ...] = (), every: bool = True, patience: float = 60.0) -> Row:
    """One row of the table: for each way its median time, its ratio to the plain step, and its gradient's error; or why it cannot serve."""
    case.plain()
    reference = case.reference()
    ways: dict[str, Way] = {}
    row: Row = {"date": environment()["date"]}
    for name, way in case.ways().items():
        if only and name not in only:
            continue
        began = time.perf_counter()
        reason = refusal(way.step)
        row[name] = {"first_step_seconds": round(time.perf_counter() - began, 2)} if reason is None else {"refused": without_paths(reason)}
        if reason is None:
            ways[name] = way
            row[name] |= {"note": way.note} if way.note else {}
            row[name] |= {} if way.term_gradient is None else {"error": relative(way.term_gradient(), reference)}
    times = interleaved({name: way.step for name, way in ways.items()}, rounds, warm=1, budget=patience)
    for name in ways:
        row[name] |= {"milliseconds": 1e3 * times.median(name), "ratio": times.ratio(name, "plain")}
    row |= {"rounds": rounds, "disturbed_rounds": times.disturbed, "counted_though_disturbed": times.counted_disturbed}
    if every:
        row["every"] = _every(case, max(3, rounds // 3), patience / 3)
    return row


def _every(case: Case, rounds: int, patience: float) -> Row:
    steps = case.every()
    steps()
    times = interleaved({"plain": case.plain, "every": steps, "plain again": case.plain}, rounds, warm=0, budget=patience)
    pairs = zip(times.seconds["every"], times.seconds["plain"], times.seconds["plain again"], strict=True)
    ratios = sorted(many / EVERY / ((before + after) / 2) for many, before, after in pairs)
    return {"milliseconds": 1e3 * times.median("every") / EVERY, "ratio": ratios[len(ratios) // 2]}


def main() -> None:
    arguments = _arguments()
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    began = time.perf_counter()
    names = [] if arguments.no_times else arguments.workloads or [*(QUICK if arguments.quick else WORKLOADS), *SCALING]
    rounds = arguments.rounds or (9 if arguments.quick else 15)
    figures: dict[str, Any] = {
        "environment": environment(),
        "quick": arguments.quick,
        "rounds": rounds,
        "results": {},
        "scaling": {},
        "memory": {},
        "first_step": {},
        "seconds": 0,
    }
    if arguments.keep:
        figures |= _kept(arguments.json, figures)
    if not jax_ways.installed():
        print(f"JAX {jax_ways.INSTALL}")
    print(header())
    for name in names:
        torch.compiler.reset()
        if name in SCALING:
            figures["scaling"][name] = measured(Case.of(SCALING[name]), 3 if arguments.quick else 7, FEW, every=False, patience=arguments.patience / 3)
        else:
            figures["results"][name] = measured(Case.of(WORKLOADS[name]), rounds, patience=arguments.patience)
        print(line(name, (figures["results"] | figures["scaling"])[name]), flush=True)
        _write(arguments.json, figures, began)
    print(note())
    if not arguments.no_memory:
        for peaks in memory.peaks(arguments.quick):
            figures["memory"] = dict(peaks)
            name, cell = list(peaks.items())[-1]
            print(f"memory {name:22s}" + (f"{cell['megabytes']:8.0f} MB" if "megabytes" in cell else f"refused: {cell['refused'][:80]}"), flush=True)
            _write(arguments.json, figures, began)
        for first in first_step.peaks(arguments.quick):
            figures["first_step"] = {workload: dict(row) for workload, row in first.items()}
            workload, row = list(first.items())[-1]
            name, cell = list(row.items())[-1]
            told = " and ".join(f"{megabytes:.0f} MB" for megabytes in cell["megabytes"]) if "megabytes" in cell else f"refused: {cell['refused'][:80]}"
            print(f"first and second step, {workload:12s} {name:35s} {told}", flush=True)
            _write(arguments.json, figures, began)


def _kept(path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """What the file holds already. Raises `ValueError` where it was measured elsewhere, since one table has one environment."""
    found = json.loads(path.read_text()) if path.exists() else figures
    here, there = ({**of["environment"], "date": None} for of in (figures, found))
    if here != there:
        raise ValueError(f"{path} holds figures of another environment: {found['environment']}; leave --keep out to begin anew")
    return found


def _write(path: Path, figures: dict[str, Any], began: float) -> None:
    order = {name: index for index, name in enumerate([*WORKLOADS, *SCALING])}
    ordered = {kind: dict(sorted(figures[kind].items(), key=lambda item: order[item[0]])) for kind in ("results", "scaling")}
    path.write_text(json.dumps(figures | ordered | {"seconds": round(figures["seconds"] + time.perf_counter() - began)}, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time every engine against the plain training step, interleaved in one process.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"which ones (default: all): {', '.join([*WORKLOADS, *SCALING])}")
    parser.add_argument("--quick", action="store_true", help="few workloads, few rounds, no compiled engine in the memory table")
    parser.add_argument("--rounds", type=int, help="how often each way is timed (default: 15, with --quick 9)")
    parser.add_argument("--patience", type=float, help="seconds per workload for repeating disturbed rounds (default: 60, with --quick 15)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--keep", action="store_true", help="keep the other rows of the file, which must be of the same environment (its date apart)")
    parser.add_argument("--no-times", action="store_true", help="measure the peak memory only")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures and the environment go (default: benchmarks/results.json)")
    arguments = parser.parse_args()
    if arguments.patience is None:
        arguments.patience = 15 if arguments.quick else 60
    unknown = [name for name in arguments.workloads if name not in WORKLOADS | SCALING]
    if unknown:
        parser.error(f"unknown workloads: {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    main()
