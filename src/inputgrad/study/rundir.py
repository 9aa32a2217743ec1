"""A run's directory: what lies in it, and whether it belongs to the settings at hand. Finished work is never lost unasked.

    settings.json    the settings, and their fingerprint
    checkpoint.pt    the training after its last whole epoch
    metrics.jsonl    one line an epoch
    record.json      the finished run

Knows files; knows no model and no training.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from inputgrad.report.record import Epoch, RunRecord
from inputgrad.study import locks, writing
from inputgrad.study.config import Config
from inputgrad.study.problems import StudyError
from inputgrad.study.wording import settings_of

Status = Literal["new", "interrupted", "finished", "changed"]
FORMAT = 2
"""Goes up whenever an older directory can no longer be gone on with."""


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one run below ``--out``."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    def status(self, config: Config) -> Status:
        """What stands here, compared with the settings at hand."""
        if not (self.checkpoint.exists() or self.record.exists()):
            return "new"
        if self._kept().get("fingerprint") != fingerprint(config):
            return "changed"
        return "finished" if self.record.exists() else "interrupted"

    def differences(self, config: Config) -> list[str]:
        """``key: before -> now`` for every setting that changed."""
        before, now = _flat(self._kept().get("settings", {})), _flat(_decisive(config))
        changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        return [f"{key}: {before.get(key, '(not set)')} -> {now.get(key, '(not set)')}" for key in changed]

    def held(self) -> AbstractContextManager[None]:
        """Hold the directory against every other process. Raises `StudyError` that names the one which holds it."""
        return locks.held(self.path)

    def begin(self, config: Config) -> None:
        """Start afresh: what lay here of this command's is removed, and the settings are written."""
        writing.folder(self.path)
        for file in (self.record, self.checkpoint, self.metrics):
            writing.removed(file)
        writing.as_json({"fingerprint": fingerprint(config), "settings": _decisive(config)}, self.settings)

    def write_metrics(self, epochs: list[Epoch]) -> None:
        """All epochs so far, one line each."""
        writing.text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs), self.metrics)

    def finish(self, record: RunRecord) -> None:
        writing.as_json(record.to_json(), self.record)

    def finished(self, config: Config) -> RunRecord:
        """The record of a finished run, under its present title. Raises `StudyError` where the file holds something else."""
        try:
            found = RunRecord.from_json(json.loads(self.record.read_text(encoding="utf-8")))
            TypeAdapter(RunRecord).validate_python(found.to_json())
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise StudyError(f"{self.record}: no record of this command ({type(error).__name__}); remove it to have the run measured again") from error
        return replace(found, title=config.title or config.name)

    def _kept(self) -> dict[str, Any]:
        try:
            kept = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}


def fingerprint(config: Config) -> str:
    """A hash of all that decides a run's result."""
    return hashlib.sha256(json.dumps(_decisive(config), sort_keys=True).encode()).hexdigest()


def _decisive(config: Config) -> dict[str, Any]:
    """The settings but for the title, with the content of a data file."""
    settings = settings_of(config)
    settings.pop("title", None)
    entry: Any = config.data
    path = getattr(entry.settings, "path", None)
    if path is not None:
        settings["data_content"] = _content(Path(path))
    return {**settings, "format": FORMAT}


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({writing.why(error)})") from error


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found
