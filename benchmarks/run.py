"""``python -m benchmarks.run [WORKLOAD ...]``: the table of ratios to the plain step, with the gradient's error beside every time."""

import argparse
import json
import platform
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import interleaved
from benchmarks.ways import ENGINES, steps, term_error
from benchmarks.workloads import WORKLOADS, Workload
from inputgrad import EngineError


def measured(workload: Workload, rounds: int, left_out: list[str]) -> dict[str, Any]:
    """One row of the table: for each way its median time, its ratio to the plain step, and its gradient's error; or why it cannot serve."""
    torch.manual_seed(0)
    model, (inputs, target) = workload.model(), workload.data()
    ways = {name: step for name, step in steps(workload, model, inputs, target).items() if name not in left_out}
    row: dict[str, Any] = {name: {} for name in ways}
    for name in list(ways):
        try:
            ways[name]()
            if name in ENGINES:
                row[name] = {"error": term_error(workload, name, model, inputs, target)}
        except (EngineError, RuntimeError) as error:
            row[name] = {"refused": str(error)}
            del ways[name]
    times = interleaved(ways, rounds)
    for name in ways:
        row[name] |= {"milliseconds": 1e3 * times.median(name), "ratio": times.ratio(name, "plain")}
    if "handwritten" in ways:
        row["overhead"] = times.ratio("double_backward", "handwritten") - 1
    row["disturbed_rounds"] = times.disturbed
    return row


def table(results: dict[str, dict[str, Any]]) -> str:
    names = ["plain", *dict.fromkeys(name for row in results.values() for name in row if isinstance(row[name], dict) and name != "plain")]
    lines = [f"{'workload':16s}" + "".join(f"{name:>20s}" for name in names) + f"{'overhead':>10s}"]
    for workload, row in results.items():
        cells = "".join(f"{_cell(name, row.get(name, {})):>20s}" for name in names)
        lines.append(f"{workload:16s}{cells}{row.get('overhead', float('nan')):>10.1%}")
    note = "plain: milliseconds a step; else ratio to plain (error of the term's own parameter gradient). overhead: double_backward over handwritten."
    return "\n".join([*lines, note])


def _cell(name: str, cell: dict[str, Any]) -> str:
    if "ratio" not in cell:
        return "refused"
    if name == "plain":
        return f"{cell['milliseconds']:.1f} ms"
    return f"{cell['ratio']:.2f}" + (f" ({cell['error']:.0e})" if "error" in cell else "")


def environment() -> dict[str, str]:
    return {"torch": torch.__version__, "python": platform.python_version(), "threads": str(torch.get_num_threads()), "machine": platform.machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time every engine against the plain training step, interleaved in one process.")
    parser.add_argument("workloads", nargs="*", choices=[[], *WORKLOADS], help="which ones (default: all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without", nargs="*", default=[], choices=["handwritten", *ENGINES], help="ways to leave out")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--json", type=Path, help="write the figures and the environment there")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    results = {}
    for name in arguments.workloads or WORKLOADS:
        results[name] = measured(WORKLOADS[name], arguments.rounds, arguments.without)
        print(table({name: results[name]}).splitlines()[1], flush=True)
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": environment(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
