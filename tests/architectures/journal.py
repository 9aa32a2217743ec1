"""What came of each architecture, written down as it comes, so that a run that is cut off goes on where it stood (``--resume``).

One line of JSON for each architecture that begins and for each mode that is judged; the last line counts. Each verdict keeps the commit that it was made on.
"""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.architectures.base import Architecture, Result
from tests.opdb.judging import ENGINES, RAW, Verdict

PATH = Path(__file__).parents[2] / "build" / "zoo.jsonl"
TRIES = 2
"""How often an architecture may end the whole process before it is written down as a raw error."""


def commit() -> str:
    """The commit of the working tree, with a plus sign where the library has been changed since."""
    head, changed = (_git(*words) for words in (("rev-parse", "--short=9", "HEAD"), ("status", "--porcelain", "src/inputgrad")))
    return head + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=PATH.parents[1], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


class Journal:
    """The lines of `PATH`. fresh: begin with none."""

    def __init__(self, fresh: bool) -> None:
        PATH.parent.mkdir(exist_ok=True)
        if fresh:
            PATH.unlink(missing_ok=True)
        self.judged: dict[str, dict[bool, dict[str, Any]]] = {}
        self.begun: Counter[str] = Counter()
        self.commit = commit()
        for line in PATH.read_text(encoding="utf-8").splitlines() if PATH.exists() else ():
            self._read(json.loads(line))

    def _read(self, line: dict[str, Any]) -> None:
        if "training" in line:
            self.judged.setdefault(line["of"], {})[line["training"]] = line
            self.begun[line["of"]] = 0
        else:
            self.begun[line["of"]] += 1

    def begin(self, architecture: Architecture) -> None:
        self._write({"of": _key(architecture)})

    def add(self, result: Result, seconds: float) -> None:
        verdicts = {engine: [one.outcome, one.misfit, one.detail] for engine, one in result.verdicts.items()}
        line = {"of": _key(result.architecture), "training": result.training, "verdicts": verdicts, "left out": result.left_out, "coarse": result.coarse}
        self._write({**line, "commit": self.commit, "seconds": round(seconds, 1)})

    def _write(self, line: dict[str, Any]) -> None:
        with PATH.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._read(line)

    def results(self, architecture: Architecture) -> list[Result]:
        """What is known of an architecture, if both modes are; that it ended the process, where it did so again and again."""
        lines = self.judged.get(_key(architecture), {})
        if len(lines) == 2:
            return [_result(architecture, lines[training]) for training in (False, True)]
        if self.begun[_key(architecture)] >= TRIES:
            ended = {engine: Verdict(RAW, detail="the process ended") for engine in ENGINES}
            return [Result(architecture, training, ended) for training in (False, True)]
        return []

    def commits(self, architectures: list[Architecture]) -> dict[str, int]:
        """How many architectures were judged on which commit; those that were left out are not."""
        lines = [self.judged[_key(one)][True] for one in architectures if True in self.judged.get(_key(one), {})]
        return dict(Counter(line["commit"] for line in lines if line["verdicts"]).most_common())


def _key(architecture: Architecture) -> str:
    return f"{architecture.package}: {architecture.name}"


def _result(architecture: Architecture, line: dict[str, Any]) -> Result:
    verdicts = {engine: Verdict(outcome, float(misfit), detail) for engine, (outcome, misfit, detail) in line["verdicts"].items()}
    return Result(architecture, line["training"], verdicts, line["left out"], line["coarse"])
