"""Finds where in the user's own code something happened. Knows files and frames; knows no tensor."""

import linecache
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType

import torch


def _below(*folders: str | Path) -> tuple[str, ...]:
    """Beginnings of the names of files below these folders; a file beside one whose name begins alike is not below it."""
    return tuple(dict.fromkeys(f"{folder}{os.sep}" for folder in folders))


_AUDIT = _below(Path(__file__).parent)
_PACKAGE = _below(Path(__file__).parents[1])
_TORCH = _below(Path(torch.__file__).parent)
_INSIDE = (*_PACKAGE, *_TORCH, "<")
_LIBRARY = _below(sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), Path(torch.__file__).parents[1])


@dataclass(frozen=True, order=True)
class Site:
    """A line of the user's code: file, line number, the function's name, and the line itself."""

    file: str
    line: int
    function: str = ""

    @property
    def code(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    @property
    def shown(self) -> str:
        """``train.py:27``, the file as seen from the working directory where it lies below."""
        path = Path(self.file)
        try:
            return f"{path.relative_to(Path.cwd())}:{self.line}"
        except ValueError:
            return f"{path.name}:{self.line}"


def here() -> Site:
    """The innermost frame of the user's own; the innermost outside torch and this library where all are installed packages."""
    frame: FrameType | None = sys._getframe(1)
    fallback: Site | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if not _foreign(name):
            return Site(name, frame.f_lineno, frame.f_code.co_name)
        if fallback is None and not name.startswith(_INSIDE):
            fallback = Site(name, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return fallback or Site("<unknown>", 0)


def raised_at(error: BaseException | None) -> Site | None:
    """The innermost line of the user's own that an exception came through."""
    innermost, link = None, error.__traceback__ if error is not None else None
    while link is not None:
        code = link.tb_frame.f_code
        innermost = innermost if _foreign(code.co_filename) else Site(code.co_filename, link.tb_lineno, code.co_name)
        link = link.tb_next
    return innermost


def inside_library() -> bool:
    """Whether this library itself is at work, as the user's own code called it: its engines cut and join graphs as they see fit."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE) and not name.startswith(_AUDIT):
            return True
        if not _foreign(name):
            return False
        frame = frame.f_back
    return False


@lru_cache(maxsize=4096)
def _foreign(name: str) -> bool:
    """Whether a file is torch's, this library's, an installed package's or no file at all."""
    return name.startswith(("<", *_PACKAGE, *_LIBRARY)) or "site-packages" in name
