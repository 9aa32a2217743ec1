"""``python -m tests.architectures``, which `make zoo` runs in an environment of its own: every architecture, in both modes, on every engine.

Writes docs/zoo.json and its tables. Names of packages or architectures run those alone, and print every verdict. With --resume, what build/zoo.jsonl holds is
not run again (but for the names given), and the record is made of all that it holds, once it holds all.
"""

import argparse
import datetime
import faulthandler
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module, metadata
from itertools import islice
from typing import Any

import torch

torch.set_default_dtype(torch.float64)
torch.serialization.add_safe_globals([slice])  # e3nn loads its constants at import
for operator in ("nms", "qnms"):  # torchvision's build for other devices lacks its operators here, and registers what it has not got
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from tests.architectures.base import Architecture, Result, judged  # noqa: E402
from tests.architectures.journal import Journal  # noqa: E402  # after the settings above, as its neighbours
from tests.opdb import page  # noqa: E402
from tests.opdb.judging import BAD, ENGINES, OUTCOMES  # noqa: E402

PACKAGES = ("transformers", "timm", "torch_geometric", "e3nn", "mace-torch", "torchdiffeq")
SOURCES = ("from_transformers", "from_others", "from_timm")


def everything(every: int) -> Iterator[Architecture]:
    for source in SOURCES:
        architectures = import_module(f"tests.architectures.{source}").architectures()
        yield from islice(architectures, 0, None, every if source == "from_transformers" else 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.architectures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--every", type=int, default=1, help="try one architecture of transformers in so many")
    parser.add_argument("--resume", action="store_true", help="take what build/zoo.jsonl holds from the last run")
    asked = parser.parse_args()
    names = set(asked.names)
    torch.set_num_threads(1)
    faulthandler.enable()
    journal = Journal(fresh=not asked.resume and not names)
    everyone = list(everything(asked.every))
    for architecture in everyone:
        named = bool(names & {architecture.package, architecture.name})
        if named or not (names or journal.results(architecture)):
            _judge(architecture, journal, named)
    results = [one for architecture in everyone for one in journal.results(architecture)]
    if len(results) == 2 * len(everyone) and (asked.resume or not names):
        page.write_zoo({**record(results), "one in": asked.every, "commits": journal.commits(everyone)})


def _judge(architecture: Architecture, journal: Journal, everything: bool) -> None:
    print(f"{architecture.package} | {architecture.name}", file=sys.stderr, flush=True)
    journal.begin(architecture)
    for training in (False, True):
        start = time.monotonic()
        result = judged(architecture, training)
        journal.add(result, time.monotonic() - start)
        _tell(result, everything)


def _tell(result: Result, everything: bool) -> None:
    """Prints what is wrong or raised, and on demand the rest."""
    name = f"{result.architecture.package} | {result.architecture.name} | {_mode(result)}"
    if result.left_out and everything:
        print(f"{name} | {result.left_out}", flush=True)
    for engine, one in result.verdicts.items():
        if everything or one.outcome in BAD:
            print(f"{name} | {engine} | {one.outcome} | {one.misfit:.1e} | {one.detail}", flush=True)


def _without_folders(reason: str | None) -> str:
    """A text without the place where packages are installed, which differs from machine to machine."""
    return re.sub(r"(?<=')/[^']*?/site-packages/", "", reason or "")


def record(results: Iterable[Result]) -> dict[str, Any]:
    """What docs/zoo.json holds."""
    results = list(results)
    tried = [result for result in results if result.verdicts]
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "architectures": {package: len({one.architecture.name for one in tried if one.architecture.package == package}) for package in PACKAGES},
        "counts": {f"{package}, {mode}": _counts(tried, package, mode) for package in PACKAGES for mode in ("evaluation", "training")},
        "left out": dict(Counter(f"{one.architecture.package}: {_without_folders(one.left_out)}" for one in results if not one.verdicts and not one.training)),
        "coarse reference": len({one.architecture.name for one in tried if one.coarse}),
        "no reference": dict(Counter(one.left_out for one in tried if one.left_out)),
        **{kind: _listed(tried, outcome) for kind, outcome in (("refused", "refused"), ("wrong", "wrong"), ("NaN", "NaN"), ("raw errors", "raw error"))},
    }


def _mode(result: Result) -> str:
    return "training" if result.training else "evaluation"


def _counts(results: list[Result], package: str, mode: str) -> dict[str, dict[str, int]]:
    chosen = [one for one in results if one.architecture.package == package and _mode(one) == mode]
    counts = {engine: Counter(one.verdicts[engine].outcome for one in chosen) for engine in ENGINES}
    return {engine: {outcome: count[outcome] for outcome in OUTCOMES if count[outcome]} for engine, count in counts.items()}


def _listed(results: list[Result], outcome: str) -> list[dict[str, str]]:
    return [
        {"package": one.architecture.package, "of": one.architecture.name, "mode": _mode(one), "engine": engine, "detail": _detail(verdict)}
        for one in results
        for engine, verdict in one.verdicts.items()
        if verdict.outcome == outcome
    ]


def _detail(verdict: Any) -> str:
    return verdict.detail or f"misfit {verdict.misfit:.1e}"


if __name__ == "__main__":
    main()
