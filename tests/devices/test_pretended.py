"""Steps on a pretended device, in a process of their own: no mix with tensors of the CPU, numbers as on the CPU, and no wait but those named here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import inputgrad as ig
from tests.devices.pretended import autocast_checks, capture_checks, held_checks, training_checks  # noqa: F401  # they register their checks
from tests.devices.pretended.checks import CHECKS

EVERY = 997
"""How many of the table's steps one is taken of here."""
NAMED = {
    "wait: to the CPU (devices.py:numbers)": "differences: how far to displace the inputs hangs on their length and on that of the direction, read at once",
}
"""What an ordinary step may wait for, and why. All other steps wait for nothing."""
TOLERANCE = {"finite_difference": 1e-6, "auto": 1e-6}
EXACT = 1e-9
NOT_THERE = ("recurrent",)
"""Models that need a kernel which torch has for named devices only (the fused cell of GRU and LSTM)."""


def results(every: int) -> list[dict[str, Any]]:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(Path(ig.__file__).parents[1]), str(root)])
    command = [sys.executable, "-m", "tests.devices.pretended.table", str(every)]
    done = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "case" in line and not line["case"].startswith(NOT_THERE) and not _is_right(line)]


def _is_right(line: dict[str, Any]) -> bool:
    if line.get("refused"):
        return True
    return "error" not in line and line["off"] <= TOLERANCE.get(line["case"].rsplit("-", 1)[-1], EXACT) and set(line["events"]) <= set(NAMED)


@pytest.fixture(scope="module")
def some() -> list[dict[str, Any]]:
    return results(EVERY)


def test_steps_are_those_of_the_cpu_and_wait_for_nothing_but_what_is_named(some: list[dict[str, Any]]) -> None:
    assert sum("case" in line for line in some) >= 4
    assert wrong(some) == []


@pytest.mark.parametrize("name", CHECKS)
def test_so_it_is_with(name: str, some: list[dict[str, Any]]) -> None:
    (line,) = (line for line in some if line.get("check") == name)
    assert "error" not in line, line


@pytest.mark.study
def test_so_are_all() -> None:
    lines = results(1)
    assert wrong(lines) == []
    assert [line for line in lines if "check" in line and "error" in line] == []


def test_what_is_wrong_is_seen() -> None:
    right = {"case": "a-double_backward", "off": 0.0, "events": []}
    assert wrong([right]) == []
    faults = ({"off": 1e-3}, {"off": float("nan")}, {"events": ["wait: nonzero (loss.py:forward)"]}, {"error": "RuntimeError: same device"})
    assert len(wrong([{**right, **fault} for fault in faults])) == len(faults)
