"""Interleaved timing in one process: in each round every way has its turn, and a round that other load disturbed is thrown away."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Times:
    """Seconds of each counted round, by way; how many rounds were thrown away; and how many were counted though disturbed, patience being at an end."""

    seconds: Mapping[str, list[float]]
    disturbed: int
    counted_disturbed: int = 0

    def median(self, way: str) -> float:
        return statistics.median(self.seconds[way])

    def ratio(self, way: str, to: str) -> float:
        """The median of the ratios round by round: steady where the machine's speed drifts."""
        return statistics.median(a / b for a, b in zip(self.seconds[way], self.seconds[to], strict=True))


TURN, MOST = 0.01, 20
"""Seconds that a turn lasts, and the most runs that it has."""


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int, warm: int = 3, budget: float = 60.0) -> Times:
    """Let every way have its turn in each round, ``rounds`` times; a disturbed round is repeated while ``budget`` seconds last.

    A turn is a run that does not count, and then one that does, or several short ones, whose mean counts: as in a loop of training. The first finds cold what
    the way before has left behind, or runs while that one's threads still spin, which on small networks costs more than the step itself.
    """
    turns: dict[str, int] = {}
    for name, run in ways.items():
        for _ in range(warm):
            run()
        began = time.perf_counter()
        run()
        once = time.perf_counter() - began
        turns[name] = math.ceil(TURN / max(once, TURN / MOST))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    disturbed, counted, start = 0, 0, time.perf_counter()
    while len(next(iter(seconds.values()))) < rounds:
        waited, began, row = _waited(), time.perf_counter(), {}
        for name, run in ways.items():
            run()
            at = time.perf_counter()
            for _ in range(turns[name]):
                run()
            row[name] = (time.perf_counter() - at) / turns[name]
        now = time.perf_counter()
        if _waited() - waited > 0.04 * (now - began):
            if now - start < budget:
                disturbed += 1
                time.sleep(0.1)
                continue
            counted += 1
        for name, value in row.items():
            seconds[name].append(value)
    return Times(seconds, disturbed, counted)


def _waited() -> float:
    """Seconds that this process's threads have stood in the run queue behind somebody else's; 0 where the system does not tell."""
    total = 0
    for task in TASKS.iterdir() if TASKS.exists() else ():
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return total * 1e-9
