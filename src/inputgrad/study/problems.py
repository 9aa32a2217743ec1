"""Problems found in a config: collected all at once, each with its place, what was found, and what to do.

Knows no config's meaning; only how a problem is told.
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_INSIDE = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Problem:
    """One mistake. place: ``"file:line"``, ``"--set key"`` or a file of data; key: the dotted key, or empty; message: what was found and what to do."""

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        key = self.key if len(self.key) <= 120 else f"{self.key[:90]}… ({len(self.key):,} letters)"
        return ": ".join(part for part in (self.place, key, self.message) if part)


class StudyError(Exception):
    """What stops the training command before or beside the training: a message for the user, without a traceback."""


class ConfigError(StudyError):
    """Every problem of one or several configs, one per line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


class DataError(StudyError):
    """A data file that cannot be used: names the file, the column or key, what was found, and what to do."""


def shown(value: object) -> str:
    """A value as a message shows it: at most 120 letters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, for one
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 120 else f"{text[:90]}… ({len(text):,} letters)"


def raised(error: BaseException) -> str:
    """What an exception of the user's own code says, with the file and line that raised it."""
    told = str(error).strip() or "(no message)"
    return f"{type(error).__name__}: {told}{_line(error)}"


def _line(error: BaseException) -> str:
    """The innermost line outside of this library and of installed packages."""
    found = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(("<", _INSIDE)) and "site-packages" not in file and "dist-packages" not in file:
            found = f" ({Path(file).name} line {number})"
    return found
