"""Peak memory of one training step, each way in a fresh process: ``python -m benchmarks.memory WAY`` prints the bytes above the resting process.

At rest: model, batch and libraries are in memory, one step has been made and its gradients dropped. The peak is the system's own count of resident
memory (VmHWM, set back before the step); the allocator gives freed blocks back at once, so that nothing that rests hides a part of the peak.
"""

import argparse
import ctypes
import gc
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORKLOAD = "cnn_256"
WAYS = (
    "plain",
    "plain_compiled",
    "handwritten",
    "lean",
    "double_backward",
    "recompute",
    "reverse_over_forward",
    "central",
    "one_sided",
    "weight_as_step",
    "compiled",
    "jax",
    "jax_plain",
)
LONG = ("plain_compiled", "reverse_over_forward", "weight_as_step", "compiled", "jax", "jax_plain")  # left out by --quick
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Settings under which the allocator gives freed blocks back at once."""
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peaks(quick: bool) -> Iterator[dict[str, dict[str, Any]]]:
    """For each way its peak in megabytes and the ratio to the plain step, or why there is none; what is known so far, after each way."""
    found: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        if quick and way in LONG:
            continue
        command = [sys.executable, "-m", "benchmarks.memory", way]
        ended = subprocess.run(command, env=os.environ | ALLOCATOR, capture_output=True, text=True, check=False)
        said = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines() or ["(nothing said)"]
        found[way] = {"megabytes": int(said[-1]) / 1e6} if ended.returncode == 0 else {"refused": said[-1]}
        if "megabytes" in found[way]:
            found[way]["ratio"] = found[way]["megabytes"] / found["plain"]["megabytes"]
        yield found


def peak(way: str) -> int:
    """Bytes above the resting process at the highest point of a step. Raises `RuntimeError` where the way cannot serve or the system does not tell."""
    from benchmarks.ways import Case
    from benchmarks.workloads import classifier, images, residual_cnn
    from inputgrad.bench.ways import refusal

    case = Case.of(classifier(WORKLOAD, residual_cnn, images(256, 3, 32, 32)))
    ways = case.ways()
    if way not in ways:
        raise RuntimeError(f"{way} is not installed")
    step = ways[way].step
    if (reason := refusal(step)) is not None:
        raise RuntimeError(reason)
    case.model.zero_grad()
    return measured_peak(step)


def measured_peak(step: Callable[[], Any], first: int = 1) -> int:
    """Bytes above the resting process at the highest point of ``first`` steps, one after the other."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    resting = _status("VmRSS")
    CLEAR.write_text("5")
    for _ in range(first):
        step()
    return _status("VmHWM") - resting


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", STATUS.read_text())
    if found is None:
        raise RuntimeError(f"the system does not tell {key}")
    return 1024 * int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the peak memory of one training step above the resting process, in bytes.")
    parser.add_argument("way", choices=WAYS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        print(peak(arguments.way))
    except (RuntimeError, OSError) as error:
        sys.exit(f"{arguments.way}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
