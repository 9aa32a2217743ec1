"""The text of a config: YAML read safely, values replaced by ``--set``, and the line of every key.

Knows YAML; knows nothing of what the keys mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from inputgrad.study.problems import ConfigError, Problem

Keys = tuple[str | int, ...]


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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), "", _unreadable(path, error))]) from error
    values, node = _parsed(text, str(path))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError([Problem(f"{path}:1", "", f"a config is a mapping of keys to values, such as `data: digits`; got {type(values).__name__}")])
    lines: dict[Keys, int] = {}
    _collect(node, (), lines)
    return overridden(Source(str(path), values, (), lines), overrides)


def overridden(source: Source, overrides: Sequence[Override]) -> Source:
    """The source with values of the command line put in place. Raises `ConfigError` where a key leads into something that is no mapping."""
    values = source.values
    for override in overrides:
        values = _replaced(values, override.keys, override)
    return Source(source.name, values, tuple(overrides), source.lines)


def assignment(text: str) -> Override:
    """The override that ``--set KEY=VALUE`` means: KEY dotted, VALUE read as YAML. Raises `ConfigError` for anything else."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not all(key.strip().split(".")):
        raise ConfigError([Problem(f"--set {text}", "", "expected KEY=VALUE with dotted keys, for example --set optimizer.lr=0.01")])
    keys: Keys = tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))
    return Override(keys, _parsed(value, f"--set {key.strip()}")[0], f"--set {key.strip()}")


def _parsed(text: str, name: str) -> tuple[Any, Node | None]:
    try:
        return YAML(typ="safe", pure=True).load(text), YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        place = f"{name}:{error.problem_mark.line + 1}" if error.problem_mark else name
        told = str(error.problem or error.context).splitlines()[0]
        raise ConfigError([Problem(place, "", f"no valid YAML: {told}")]) from error
    except (YAMLError, ValueError) as error:
        raise ConfigError([Problem(name, "", f"no valid YAML: {error}")]) from error


def _collect(node: Node | None, keys: Keys, lines: dict[Keys, int]) -> None:
    """The line of every key below ``node``, from 1."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            lines[(*keys, key.value)] = key.start_mark.line + 1
            _collect(value, (*keys, key.value), lines)
    elif isinstance(node, SequenceNode):
        for position, value in enumerate(node.value):
            lines[(*keys, position)] = value.start_mark.line + 1
            _collect(value, (*keys, position), lines)


def _replaced(values: Any, keys: Keys, override: Override) -> Any:
    """A copy of ``values`` in which ``override.value`` stands at ``keys``; mappings that are missing on the way are made."""
    if not keys:
        return override.value
    first, rest = keys[0], keys[1:]
    if isinstance(values, list) and isinstance(first, int) and first < len(values):
        return [_replaced(item, rest, override) if position == first else item for position, item in enumerate(values)]
    if values is None or isinstance(values, dict):
        known = values or {}
        return {**known, first: _replaced(known.get(first), rest, override)}
    found = f"{type(values).__name__} {values!r}"
    raise ConfigError([Problem(override.origin, "", f"the key leads into {found}, which has no {first!r}: set the whole value instead")])


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file; give the path of a YAML file, or use the short form with --data and --loss"
    if path.is_dir():
        return "this is a directory; give its files, for example *.yaml"
    return f"cannot be read as UTF-8 text: {error}"
