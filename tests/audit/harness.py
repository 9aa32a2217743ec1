"""Runs the corpus: each script in this process under the audit, and what was found against what its comments expect.

A script says what is expected in a comment at the end of the line, ``# expect: IG101 error`` (several with commas between); good scripts say nothing. A script
that is meant to raise has a line ``Raises: RuntimeError`` in its docstring. `python -m tests.audit.harness` prints the counts; with paths it runs those alone.
"""

import ast
import contextlib
import gc
import io
import random
import re
import runpy
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from inputgrad.audit.finding import Finding
from inputgrad.audit.probes.run_watcher import RunWatcher, StopWatching
from inputgrad.audit.rule_runner import run_rules
from inputgrad.audit.suppressions import IgnoreComments

CORPUS = Path(__file__).parent / "corpus"
STEPS = 3
Expected = tuple[str, str, int]
"""Code, severity and line."""


@dataclass(frozen=True)
class Outcome:
    """What one script gave."""

    path: Path
    findings: tuple[Finding, ...]
    raised: str | None
    watched: int
    """How many gradients were asked for while it was watched."""

    @property
    def keys(self) -> Counter[Expected]:
        return Counter((item.code, item.severity, item.site.line if item.site.file == str(self.path) else -1) for item in self.findings)

    @property
    def unexpected(self) -> list[Expected]:
        return sorted((self.keys - Counter(expected(self.path))).elements())

    @property
    def missed(self) -> list[Expected]:
        return sorted((Counter(expected(self.path)) - self.keys).elements())


def scripts(*kinds: str) -> list[Path]:
    return [path for kind in kinds or ("bad", "good") for path in sorted((CORPUS / kind).glob("*.py"))]


def expected(path: Path) -> list[Expected]:
    """What the comments of a script expect."""
    wanted = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for comment in re.findall(r"# expect: ([^#]*)", line):
            for item in comment.split(","):
                code, severity = item.split()
                wanted.append((code, severity, number))
    return wanted


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def raises(path: Path) -> str | None:
    """The name of the exception that the script is meant to end with."""
    name = re.search(r"^Raises: (\w+)", docstring(path), re.MULTILINE)
    return name[1] if name else None


def run(path: Path, steps: int = STEPS) -> Outcome:
    """One script, under the audit as a user's would be: unmodified, from its file, as the main module."""
    path, watcher = path.resolve(), RunWatcher(steps, stop=True)
    with _alone(path):
        try:
            with watcher:
                runpy.run_path(str(path), run_name="__main__")
        except (StopWatching, SystemExit):
            pass
        except Exception as error:
            if watcher.facts.failure is not error:
                raise
        ignores = IgnoreComments([str(path)])
        findings = tuple(item for item in run_rules(watcher.facts) if ignores.take(item) is None)
    failure = watcher.facts.failure
    return Outcome(path, findings, None if failure is None or isinstance(failure, SystemExit) else type(failure).__name__, len(watcher.facts.calls))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """What a process of its own would give the script: seeds, arguments, no leftovers of the one before."""
    gc.collect()  # the audit looks for optimisers among the objects that are alive
    gc.freeze()  # it shall not find those of the script before, nor take long over the rest
    state, dtype = torch.random.get_rng_state(), torch.get_default_dtype()
    with warnings.catch_warnings(), mock.patch.object(sys, "argv", [str(path)]), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        random.seed(0)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.random.set_rng_state(state)
            torch.set_grad_enabled(True)
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def main(names: list[str]) -> int:
    """Run and print; the number of scripts that gave something else than expected."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    outcomes = [run(path) for path in ([Path(name) for name in names] or scripts())]
    for outcome in outcomes:
        _print(outcome, bool(names))
    wrong = [item for outcome in outcomes for item in outcome.unexpected]
    wanted = sum(len(expected(outcome.path)) for outcome in outcomes)
    missed = sum(len(outcome.missed) for outcome in outcomes)
    good = sum(outcome.path.parent.name == "good" for outcome in outcomes)
    counts = Counter(severity for _, severity, _ in wrong)
    print(f"{good} good and {len(outcomes) - good} bad scripts in {time.perf_counter() - began:.0f} s, {wanted} findings expected, {wanted - missed} found")
    print(f"false errors {counts['error']}, false warnings {counts['warning']}, false notes {counts['note']}, misses {missed}")
    failed = [outcome for outcome in outcomes if outcome.unexpected or outcome.missed or outcome.raised != raises(outcome.path)]
    return len(failed)


def _print(outcome: Outcome, all_of_it: bool) -> None:
    name = f"{outcome.path.parent.name}/{outcome.path.name}"
    for kind, items in (("false", outcome.unexpected), ("missed", outcome.missed)):
        for code, severity, line in items:
            print(f"{name}:{line if line > 0 else '?'}  {kind} {code} {severity}")
    if outcome.raised != raises(outcome.path):
        print(f"{name}  raised {outcome.raised}, expected {raises(outcome.path)}")
    for item in outcome.findings if all_of_it else ():
        print(f"{item.site.shown}  {item.code} {item.severity}  {item.message}\n    {item.measured}\n    write: {item.write}")


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 100))
