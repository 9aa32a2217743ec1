"""The text of a config: YAML read safely, values replaced by ``--set``, and the line of every key.

Knows files and options; YAML itself is `inputgrad.study.yaml_text`'s, and what the keys mean `inputgrad.study.config`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inputgrad.study import reading, yaml_text
from inputgrad.study.problems import ConfigError, Problem, shown
from inputgrad.study.yaml_text import Keys


@dataclass(frozen=True)
class Override:
    """A value that stands on the command line. keys: where it goes; origin: the option as the user knows it, such as ``"--set epochs"``."""

    keys: Keys
    value: Any
    origin: str


@dataclass(frozen=True)
class Source:
    """A config before it is checked. name: the file as the user gave it, or the short form; values: plain Python data."""

    name: str
    values: dict[str, Any]
    overrides: tuple[Override, ...] = ()
    lines: Mapping[Keys, int] = field(default_factory=dict)

    def written(self, keys: Keys) -> Keys:
        """``keys`` as they stand in the file: without the positions that a mapping of terms gets when it is read as a list."""
        return tuple(key for position, key in enumerate(keys) if not (isinstance(key, int) and self._is_mapping(keys[:position])))

    def _is_mapping(self, keys: Keys) -> bool:
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return not isinstance(value, list)

    def place(self, keys: Keys) -> str:
        """Where ``keys`` stand: the option that set them, or ``"file:line"`` of the nearest enclosing key that is written there."""
        for override in self.overrides:
            if keys[: len(override.keys)] == override.keys or override.keys[: len(keys)] == keys != ():
                return override.origin
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.lines:
                return f"{self.name}:{self.lines[keys[:length]]}"
        return self.name


def read(path: Path, overrides: Sequence[Override] = ()) -> Source:
    """The config in a YAML file, with the overrides applied. Raises `ConfigError` where it is missing or no mapping in YAML."""
    try:
        reading.check_ordinary(path)
        with path.open(encoding="utf-8") as file:
            text = file.read(yaml_text.LONGEST + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(str(path), "", _unreadable(path, error))]) from error
    values, lines = yaml_text.parsed(text, str(path))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError([Problem(f"{path}:1", "", f"a config is a mapping of keys to values, such as `data: digits`; got {type(values).__name__}")])
    return overridden(Source(str(path), values, (), lines), overrides)


def overridden(source: Source, overrides: Sequence[Override]) -> Source:
    """The source with values of the command line put in place. Raises `ConfigError` where a key leads into something that is no mapping."""
    values = source.values
    for override in overrides:
        values = _replaced(values, override.keys, override)
    made = Source(source.name, values, tuple(overrides), source.lines)
    problems = list(yaml_text.check_plain(values, made.place))
    if problems:
        raise ConfigError(problems)
    return made


def assignment(text: str) -> Override:
    """The override that ``--set KEY=VALUE`` means: KEY dotted, VALUE read as YAML. Raises `ConfigError` for anything else."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not all(key.strip().split(".")):
        raise ConfigError([Problem(f"--set {text}", "", "expected KEY=VALUE with dotted keys, for example --set optimizer.lr=0.01")])
    if not key.isprintable() or key.count(".") >= yaml_text.DEEPEST:
        raise ConfigError([Problem(f"--set {key[:80]!r}", "", "unknown config key; for example --set optimizer.lr=0.01")])
    first, *below = key.strip().split(".")
    keys: Keys = (first, *(int(part) if part.isascii() and part.isdecimal() and len(part) < 10 else part for part in below))
    return Override(keys, yaml_text.parsed(value, f"--set {key.strip()}")[0], f"--set {key.strip()}")


def _replaced(values: Any, keys: Keys, override: Override) -> Any:
    """A copy of ``values`` in which ``override.value`` stands at ``keys``; mappings that are missing on the way are made."""
    if not keys:
        return override.value
    first, rest = keys[0], keys[1:]
    if isinstance(values, list) and isinstance(first, int) and first < len(values):
        return [_replaced(item, rest, override) if position == first else item for position, item in enumerate(values)]
    if values is None or isinstance(values, dict):
        known, first = values or {}, str(first)
        return {**known, first: _replaced(known.get(first), rest, override)}
    found = f"{type(values).__name__} {shown(values)}"
    raise ConfigError([Problem(override.origin, "", f"the key leads into {found}, which has no {first!r}: set the whole value instead")])


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file; give the path of a YAML file, or use the short form with --data and --loss"
    if isinstance(error, IsADirectoryError):
        return "this is a directory; give its files, for example *.yaml"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return f"cannot be read as UTF-8 text: {error}"
