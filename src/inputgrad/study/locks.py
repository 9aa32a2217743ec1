"""One run, one writer: a lock on a run's directory that the system releases when its process ends, however it ends.

The lock is one of filelock on the file ``.lock``, which stays there; the file ``writer.json`` says who holds it. On a file system without locks, filelock
takes the existence of ``.lock.soft`` for one, and recognises that of a process that is gone. Knows files and processes; knows no run.
"""

import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from inputgrad.study import writing
from inputgrad.study.problems import StudyError

NAME, SIGNATURE = ".lock", "writer.json"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made. Raises `StudyError` that names the process which holds it."""
    writing.folder(folder)
    lock = _taken(folder)
    try:
        _sign(folder / SIGNATURE)
        writing.sweep(folder, every=True)
        yield
    finally:
        try:
            with suppress(OSError):
                (folder / SIGNATURE).unlink(missing_ok=True)
        finally:
            lock.release()


def _taken(folder: Path) -> BaseFileLock:
    try:
        return _acquired(FileLock(folder / NAME), folder)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise StudyError(_told(folder, error)) from error
    try:
        return _acquired(SoftFileLock(folder / f"{NAME}.soft"), folder)
    except OSError as error:
        raise StudyError(_told(folder, error)) from error


def _acquired(lock: BaseFileLock, folder: Path) -> BaseFileLock:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(_occupied(folder)) from None
    return lock


def _told(folder: Path, error: OSError) -> str:
    return f"{folder} cannot be written to ({writing.why(error)}); choose another --out, or make it writable"


def _sign(path: Path) -> None:
    """Say who holds the lock; a full disk is no reason not to hold it."""
    told = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "command": shlex.join(sys.argv)}
    with suppress(OSError):
        path.write_text(json.dumps(told), encoding="utf-8")


def _signature(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _occupied(folder: Path) -> str:
    told = _signature(folder / SIGNATURE)
    who = f"process {told.get('process')} on {told.get('host')}, since {told.get('since')} ({told.get('command')})" if told else "another process"
    return f"{folder}: another run is writing there: {who}. Wait until it ends, or choose another --out, or another `name:` in the config"
