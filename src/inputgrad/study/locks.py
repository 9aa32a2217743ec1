"""One run, one writer: a lock on a run's directory that the system releases when its process ends, however it ends.

The file ``lock`` says who holds it; it is the lock of the system on that file that counts, so one left behind by a killed process holds nobody up.
Knows files and processes; knows no run.
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

from inputgrad.study import writing
from inputgrad.study.problems import StudyError

NAME = "lock"
_FAR = 2**30
"""Where the locked byte stands on Windows, so that the text before it can be read."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made. Raises `StudyError` that names the process which holds it."""
    writing.folder(folder)
    path = folder / NAME
    descriptor = _taken(path)
    try:
        writing.sweep(folder, every=True)
        yield
    finally:
        try:
            with suppress(OSError):
                path.unlink()
        finally:
            os.close(descriptor)


def _taken(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StudyError(f"{path.parent} cannot be written to ({writing.why(error)}); choose another --out, or make it writable") from error
        try:
            if not _locked(descriptor, path):
                raise StudyError(_occupied(path))
            if _still_there(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed the file in between


def _locked(descriptor: int, path: Path) -> bool:
    """Take the system's lock. Where the file system knows none, the process that signed the file counts as the holder while it lives."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        return not _alive(_signature(path))
    return True


def _still_there(descriptor: int, path: Path) -> bool:
    try:
        return sys.platform == "win32" or os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Say who holds the lock; a full disk is no reason not to hold it."""
    told = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "command": shlex.join(sys.argv)}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(told).encode())


def _signature(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _alive(told: dict[str, object]) -> bool:
    process = told.get("process")
    if not isinstance(process, int) or process == os.getpid() or told.get("host") != socket.gethostname() or sys.platform == "win32":
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _occupied(path: Path) -> str:
    told = _signature(path)
    who = f"process {told.get('process')} on {told.get('host')}, since {told.get('since')} ({told.get('command')})" if told else "another process"
    return f"{path.parent}: another run is writing there: {who}. Wait until it ends, or choose another --out, or another `name:` in the config"
