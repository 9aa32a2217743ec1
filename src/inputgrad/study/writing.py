"""Files that are whole or not there: written beside under a name of their own, made durable, then put in place.

Knows files; knows nothing of what is in them.
"""

import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from inputgrad.study.problems import StudyError

SUFFIX = ".new"
LEFT = 3600.0
"""Seconds after which a file beside another one is that of a program that was killed."""
LONGEST = 255
"""Bytes of a name that file systems hold."""


def text(content: str, path: Path) -> None:
    """Write a text: whoever stops the program at any moment finds the old file or the new one."""
    replaced(path, lambda beside: beside.write_text(content, encoding="utf-8"))


def as_json(data: Any, path: Path) -> None:
    """Write data as JSON, as `text` does."""
    text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", path)


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` make a file beside ``path``, and put it in its place. Raises `StudyError` where it cannot; nothing is left beside."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")
    try:
        write(beside)
        synchronised(beside)
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
        if isinstance(error.__context__, KeyboardInterrupt):  # and an interruption in the middle of its archive
            raise error.__context__ from None
        kept = "what stood there before is whole" if _exists(path) else "nothing stands there"
        raise StudyError(f"{path} could not be written ({why(error)}); {kept}. Make room or choose another --out, and give the same command again") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    with suppress(OSError):  # Windows opens no directory
        synchronised(path.parent)


def synchronised(path: Path) -> None:
    """Have the system write a file, or a directory's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def removed(path: Path) -> None:
    """Remove a file that may be missing. Raises `StudyError` where it cannot."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StudyError(f"{path} could not be removed ({why(error)}); choose another --out, or make its folder writable") from error


def folder(path: Path) -> None:
    """Make a folder and those above it. Raises `StudyError` where it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"the folder {path} could not be made ({why(error)}); choose another --out") from error


def check_folder(path: Path) -> None:
    """Raise `StudyError` where ``path`` can be seen not to become a folder; writes nothing."""
    for part in path.parts:
        if "\0" in part or len(part.encode("utf-8", "surrogatepass")) > LONGEST:
            raise StudyError(f"--out {_short(path)}: {_short(part)} has more than {LONGEST} bytes or a NUL in its name; choose another --out")
    for place in (path, *path.parents):
        try:
            if not place.exists():
                continue
            if not place.is_dir():
                raise StudyError(f"--out {path}: {place} is a file, not a folder; choose another --out")
            return
        except OSError as error:
            raise StudyError(f"--out {path}: {why(error)}; choose another --out") from error


def check_file(path: Path) -> None:
    """Raise `StudyError` where a folder stands in the place of a file that is to be written."""
    if path.is_dir():
        raise StudyError(f"{path} is a folder, and a file is to be written there; move it away, or choose another --out")


def sweep(path: Path, *, every: bool = False) -> None:
    """Remove what programs that were killed have left beside files of this folder: all of it, or what is older than an hour."""
    with suppress(OSError):
        for left in path.glob(f".*{SUFFIX}"):
            if every or time.time() - left.stat().st_mtime > LEFT:
                left.unlink(missing_ok=True)


def why(error: BaseException) -> str:
    """What the system says, without the file's name, which stands in the message already."""
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        error = error.__context__  # torch complains of the archive that the disk did not take
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    told = str(error).strip()
    return told.splitlines()[0] if told else type(error).__name__


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _short(value: object) -> str:
    shown = repr(str(value))
    return shown if len(shown) <= 80 else f"{shown[:60]}…{shown[-10:]}"
