"""Faults put in at every file operation of a training: a disk that is full from there on, a folder that can no longer be written to, SIGTERM, SIGKILL.

Each operation below one folder (open, write, fsync, replace, unlink, mkdir) is counted, and the one in question fails.
"""

import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console

from inputgrad.study import command

FAULTS = ("full disk", "read-only folder", "SIGTERM", "SIGKILL")
NEEDS_ROOM = {"open", "write", "fsync", "mkdir"}


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it, and no file operation after it takes place."""


class Disk:
    """The file operations below ``folder``. at: which one fails, by number; fault: how. done: what took place."""

    def __init__(self, folder: Path, at: int | None = None, fault: str = "full disk") -> None:
        self.folder, self.at, self.fault, self.count, self.hit = folder, at, fault, 0, ""
        self.done: list[tuple[str, str]] = []

    def asked(self, operation: str, path: object) -> None:
        """Raises where this operation is to fail."""
        if not isinstance(path, (str, os.PathLike)) or not Path(path).is_relative_to(self.folder):
            return
        number, self.count = self.count, self.count + 1
        if self.at is not None and number >= self.at:
            first = number == self.at
            self.hit = f"{operation} {Path(path).name}" if first else self.hit
            self._fail(operation, first)
        self.done.append((operation, Path(path).name))

    def _fail(self, operation: str, first: bool) -> None:
        if self.fault == "SIGKILL":
            raise Killed
        if self.fault == "SIGTERM" and first:
            raise KeyboardInterrupt("signal 15")
        if self.fault == "full disk" and (first or operation in NEEDS_ROOM):
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.fault == "read-only folder":
            raise OSError(errno.EROFS, "Read-only file system")

    @contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Take the operations' places."""
        plain_open = io.open

        def opened(path: Any, mode: str = "r", *rest: Any, **keywords: Any) -> Any:
            if "w" not in mode:
                return plain_open(path, mode, *rest, **keywords)
            self.asked("open", path)
            return _Writing(plain_open(path, mode, *rest, **keywords), self, path)

        def asks(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
            def act(path: Any, *rest: Any, **keywords: Any) -> Any:
                if name != "open" or rest[0] & os.O_CREAT:
                    self.asked(name, path)
                return plain(path, *rest, **keywords)

            return act

        names = {"replace": "replace", "unlink": "unlink", "mkdir": "mkdir", "open": "open"}
        fsync = os.fsync

        def synced(descriptor: int) -> None:
            self.asked("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        patches = [patch.object(os, name, asks(known, getattr(os, name))) for name, known in names.items()]
        with patches[0], patches[1], patches[2], patches[3], patch.object(io, "open", opened), patch.object(os, "fsync", synced):
            yield self


class _Writing:
    """An open file; half of what is written is there when a write fails."""

    def __init__(self, file: Any, disk: Disk, path: Any) -> None:
        self._file, self._disk, self._path, self._begun = file, disk, path, False

    def write(self, content: Any) -> Any:
        if not self._begun:
            self._begun = True
            try:
                self._disk.asked("write", self._path)
            except BaseException:
                self._file.write(content[: len(content) // 2])
                raise
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Writing":
        return self

    def __exit__(self, *ignored: object) -> None:
        self._file.close()


def trained(configs: list[Path], out: Path, disk: Disk) -> tuple[int | None, str]:
    """The status of one command on this disk (None: killed), and what it said."""
    console = Console(file=io.StringIO(), width=200)
    status: int | None = None
    with disk.watched(), suppress(Killed):
        status = command.train(configs, [], out, overwrite=False, console=console)
    return status, console.file.getvalue()


def survived(configs: list[Path], before: Path, whole: Path, folder: Path, at: int, fault: str) -> list[str]:
    """What is wrong after a fault at operation ``at`` and one more command: nothing, where nothing was lost.

    before: a folder with a finished run, from which the command starts; whole: the same after a command without a fault.
    """
    out = folder / "out"
    shutil.copytree(before, out)
    disk = Disk(out, at, fault)
    status, told = trained(configs, out, disk)
    wrong = [] if status in (None, 0, 1, 130) else [f"status {status}"]
    if status == 1 and not any(part in told for part in ("could not be", "cannot be written")):
        wrong.append(f"said {told[-300:]!r}")
    wrong += _lost(out / "new", disk)
    again, told = trained(configs, out, Disk(out))
    if again != 0:
        return [*wrong, f"the same command again ended with {again}: {told[-300:]}"]
    return wrong + [f"{line} (fault at {disk.hit})" for line in _differences(out, whole)]


def _lost(run: Path, disk: Disk) -> list[str]:
    """Whether what had been put in place before the fault is there and whole."""
    epochs = sum(operation == "replace" and name.startswith(".checkpoint.pt") for operation, name in disk.done)
    found = len(torch.load(run / "checkpoint.pt", weights_only=True)["epochs"]) if (run / "checkpoint.pt").exists() else 0
    finished = any(operation == "replace" and name.startswith(".record.json") for operation, name in disk.done)
    wrong = [] if found == epochs else [f"{epochs} epochs were kept, {found} are there"]
    if finished:
        json.loads((run / "record.json").read_text(encoding="utf-8"))
    return wrong


def _differences(out: Path, whole: Path) -> list[str]:
    names = {path.relative_to(root).as_posix() for root in (out, whole) for path in root.rglob("*") if path.is_file()}
    allowed = (".report.html.", "new/.lock", "new/writer.json")  # the first is removed after an hour; the others are free: it is the system's lock that counts
    names = {name for name in names if not name.startswith(allowed)}
    wrong = [f"{name} is missing or left over" for name in sorted(names) if not ((out / name).exists() and (whole / name).exists())]
    for run in ("finished", "new"):
        models = [torch.load(root / run / "checkpoint.pt", weights_only=True)["model"] for root in (out, whole)]
        if not all(torch.equal(models[0][key], models[1][key]) for key in models[1]):
            wrong.append(f"{run}: another model")
        records = [json.loads((root / run / "record.json").read_text(encoding="utf-8")) for root in (out, whole)]
        for record in records:
            record.pop("seconds")
            for epoch in record["epochs"]:
                epoch.pop("seconds")
        if records[0] != records[1]:
            wrong.append(f"{run}: another record")
    return wrong
