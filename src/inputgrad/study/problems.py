"""Problems found in a config: collected all at once, each with its place, what was found, and what to do.

Knows no config's meaning; only how a problem is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake. place: ``"file:line"``, ``"--set key"`` or a file of data; key: the dotted key, or empty; message: what was found and what to do."""

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class StudyError(Exception):
    """What stops the training command before or beside the training: a message for the user, without a traceback."""


class ConfigError(StudyError):
    """Every problem of one or several configs, one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


class DataError(StudyError):
    """A data file that cannot be used: names the file, the column or key, what was found, and what to do."""
