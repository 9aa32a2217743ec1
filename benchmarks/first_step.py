"""Peak memory of the first and the second step with a model, each way in a fresh process: ``python -m benchmarks.first_step WAY WORKLOAD``.

Prints the bytes above the resting process at the highest point of each step. At rest: model, batch and libraries are in memory (a tiny model of the same
kind has made a step), and nothing is known of the model. The peak is the system's own count, as in `benchmarks.memory`.
"""

import argparse
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.memory import ALLOCATOR, measured_peak

REFERENCES = ("plain", "lean")
RECOMPUTE = "double_backward, recompute=True"
ENGINES = ("auto", "double_backward", RECOMPUTE, "reverse_over_forward", "finite_difference", "weight_as_step", "compiled")
UNVERIFIED = " unverified"
WAYS = (*REFERENCES, *(engine + kind for engine in ENGINES for kind in ("", UNVERIFIED)))
QUICK = ("plain", "lean", "auto", "finite_difference")
WORKLOADS = ("cnn", "mlp", "wide_mlp", "transformer")
"""Activations weigh in the first two and the last, parameters in the third."""
Steps = Callable[[], object]


def peaks(quick: bool) -> Iterator[dict[str, dict[str, dict[str, Any]]]]:
    """For each workload and way the megabytes of the first and the second step, or why there are none; what is known so far, after each way."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for workload in WORKLOADS[:1] if quick else WORKLOADS:
        for way in QUICK if quick else WAYS:
            command = [sys.executable, "-m", "benchmarks.first_step", way, workload]
            ended = subprocess.run(command, env=os.environ | ALLOCATOR, capture_output=True, text=True, check=False)
            said = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines() or ["(nothing said)"]
            served = ended.returncode == 0
            found.setdefault(workload, {})[way] = {"megabytes": [int(number) / 1e6 for number in said[-1].split()]} if served else {"refused": said[-1]}
            yield found


def steps_of(way: str, workload: str, *, tiny: bool = False) -> tuple[Any, Steps]:
    """A model, and one training step of it."""
    import inputgrad as ig
    from benchmarks.ways import Case
    from benchmarks.workloads import Transformer, classifier, images, mlp, residual_cnn
    from inputgrad.engines import DoubleBackward

    cases = {
        "cnn": (residual_cnn, (2 if tiny else 128, 3, 32, 32)),
        "mlp": (partial(mlp, 2048) if not tiny else partial(mlp, 16), (2 if tiny else 4096, 784)),
        "wide_mlp": (partial(mlp, 2048, 6) if not tiny else partial(mlp, 16), (2 if tiny else 64, 784)),
        "transformer": (partial(Transformer, 1 if tiny else 4), (2 if tiny else 64, 4 if tiny else 64, 128)),
    }
    model, (size, *shape) = cases[workload]
    case = Case.of(classifier(workload, model, images(size, *shape)))
    if way in REFERENCES:
        return case.model, case.ways()[way].step
    engine, unverified, _ = way.partition(UNVERIFIED)
    made = case.workload.criterion("auto")
    criterion = ig.InputGradientLoss(made.base, made.terms, engine=DoubleBackward(recompute=True) if engine == RECOMPUTE else engine, verify=not unverified)
    return case.model, lambda: criterion.backward(case.model, case.inputs, case.target)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the peak memory of the first and the second step with a model above the resting process, in bytes.")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("workload", choices=WORKLOADS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        steps_of(arguments.way, arguments.workload, tiny=True)[1]()
        model, step = steps_of(arguments.way, arguments.workload)
        found = []
        for _ in range(2):
            model.zero_grad()
            found.append(measured_peak(step))
        print(*found)
    except (RuntimeError, OSError) as error:
        sys.exit(f"{arguments.way}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
