"""``python -m benchmarks.precision``: the error of the term's own parameter gradient by engine and dtype, against the textbook in float64.

The figures go to benchmarks/results.json, under "precision". Times play no part, so another load does not disturb them.
"""

import contextlib
import copy
import json
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from benchmarks.run import RESULTS, without_paths
from benchmarks.ways import Case
from benchmarks.workloads import WORKLOADS
from inputgrad.bench.ways import ENGINES, engine_way, refusal, relative
from inputgrad.engines import FiniteDifference

ROWS = ("mlp", "mlp_relu", "cnn_32", "transformer_64", "forces", "critic_mlp")
WAYS: dict[str, Any] = {**ENGINES, "richardson": FiniteDifference("richardson")}
PASSES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": contextlib.nullcontext,
    "float32": contextlib.nullcontext,
    "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "float16": lambda: torch.autocast("cpu", torch.float16),
}
"""The half precisions are autocast over float32 parameters."""


def cells(case: Case, name: str, dtype: str) -> dict[str, Any]:
    """{"error": …} of one engine in one precision, or {"refused": the reason}."""
    model, inputs, target = case.model, case.inputs, case.target
    if dtype == "float64":
        model = copy.deepcopy(model).double()
        inputs, target = (value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in (inputs, target))
    made = engine_way(case.workload.criterion("auto"), WAYS[name], model, inputs, target)

    def plain() -> None:
        model.zero_grad()
        with PASSES[dtype]():
            loss = case.workload.plain(model, inputs, target).mean()
        loss.backward()

    with PASSES[dtype]():
        reason = refusal(made.step)
        return {"refused": without_paths(reason)} if reason else {"error": relative(made.term_gradient(plain), case.reference())}


def main() -> None:
    warnings.simplefilter("ignore")
    figures = json.loads(RESULTS.read_text())
    figures["precision"] = {}
    for workload in ROWS:
        case = Case.of(WORKLOADS[workload])
        torch.compiler.reset()
        figures["precision"][workload] = {name: {dtype: cells(case, name, dtype) for dtype in PASSES} for name in WAYS}
        for name, row in figures["precision"][workload].items():
            print(f"{workload:16s}{name:22s}" + "".join(f"{dtype} {cell.get('error', float('nan')):.0e}   " for dtype, cell in row.items()), flush=True)
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
