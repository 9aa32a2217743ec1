"""Text of YAML as plain data, and the line of every key. Refused before anything is built of it: bombs, circles, depths, and values that are no plain data.

Knows YAML; knows nothing of what the keys mean.
"""

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, NodeEvent, SequenceEndEvent, SequenceStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from inputgrad.study.problems import ConfigError, Problem

Keys = tuple[str | int, ...]
LONGEST = 2**20
"""Letters of a text."""
DEEPEST = 32
MOST = 20_000
"""Values of a config, those that aliases stand for counted each time."""
_OF_PYTHON = (ValueError, ArithmeticError, TypeError, AttributeError, LookupError, AssertionError)
"""What the constructors of Python's own types raise."""
_WORD, _MERGE, _WHOLE = (f"tag:yaml.org,2002:{name}" for name in ("str", "merge", "int"))


def parsed(text: str, name: str) -> tuple[Any, dict[Keys, int]]:
    """The data that a text says, and the lines of its keys. name: of the file or option, for messages. Raises `ConfigError`."""
    if len(text) > LONGEST:
        raise _wrong(name, f"more than {LONGEST:,} letters; a config is a page at most: is this another file?")
    node: Node | None = None
    try:
        _check_size(text, name)
        node = YAML(typ="safe", pure=True).compose(text)
        lines = {keys: line + 1 for keys, line in _lines(node, (), name)} if node is not None else {}
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        place = f"{name}:{error.problem_mark.line + 1}" if error.problem_mark else name
        told = str(error.problem or error.context).splitlines()[0]
        raise _wrong(place, f"no valid YAML: {told}") from error
    except (YAMLError, *_OF_PYTHON, RecursionError) as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        line = next(_impossible(node), None)
        raise _wrong(name if line is None else f"{name}:{line + 1}", f"no valid YAML: {told}") from error
    return values, lines


def _impossible(node: Node | None) -> Iterator[int]:
    """The lines, from 0, of values that are not what their tag or their form says, such as ``!!int one`` and the 31st of February."""
    if isinstance(node, ScalarNode):
        try:
            YAML(typ="safe", pure=True).constructor.construct_document(node)
        except (YAMLError, *_OF_PYTHON):
            yield node.start_mark.line
    for child in _children(node):
        yield from _impossible(child)


def _children(node: Node | None) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def check_plain(values: Any, place: Callable[[Keys], str], keys: Keys = ()) -> Iterator[Problem]:
    """The problems of values that no config holds: dates, bytes, sets, text that cannot be written. place: from keys to a place."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from check_plain(value, place, (*keys, key))
    elif isinstance(values, list):
        for position, value in enumerate(values):
            yield from check_plain(value, place, (*keys, position))
    elif isinstance(values, (datetime.date, datetime.datetime)):
        yield Problem(place(keys), ".".join(map(str, keys)), f"got a date, {values}: write it in quotes where a word is meant")
    elif isinstance(values, str):
        if "\0" in values or any("\ud800" <= letter <= "\udfff" for letter in values):
            yield Problem(place(keys), ".".join(map(str, keys)), "the text holds a NUL or half a letter (a lone surrogate), which no file holds: write it anew")
    elif values is not None and not isinstance(values, (bool, int, float)):
        yield Problem(place(keys), ".".join(map(str, keys)), f"got {type(values).__name__}, expected a number, a word, a list, or a mapping of words to these")


def _wrong(place: str, message: str) -> ConfigError:
    return ConfigError([Problem(place, "", message)])


def _check_size(text: str, name: str) -> None:
    """Depth and number of values with every alias written out, from the events alone: nothing has been built yet."""
    open_sizes: list[tuple[str | None, int]] = [(None, 0)]
    anchored: dict[str, int] = {}
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            anchor, size = open_sizes.pop()
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_sizes):
                raise _wrong(f"{name}:{line}", f"the alias *{event.anchor} stands inside what it names, which has no end")
            anchor, size = None, anchored.get(event.anchor, 1)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            open_sizes.append((event.anchor, 1))
            if len(open_sizes) > DEEPEST:
                raise _wrong(f"{name}:{line}", f"nested more than {DEEPEST} deep; a config has some six levels")
            continue
        elif isinstance(event, NodeEvent):
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            anchored[anchor] = size
        outer, before = open_sizes[-1]
        open_sizes[-1] = (outer, before + size)
        if before + size > MOST:
            raise _wrong(f"{name}:{line}", f"more than {MOST:,} values, with every alias written out; a config has some tens")


def _lines(node: Node, keys: Keys, name: str) -> Iterator[tuple[Keys, int]]:
    """The line of every key below ``node``, from 0."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode) or key.tag not in ((_WORD, _MERGE, _WHOLE) if keys else (_WORD, _MERGE)):
                found = f"the key {key.value!r} is not a word: write it in quotes" if isinstance(key, ScalarNode) else "a list or a mapping stands as a key"
                raise _wrong(f"{name}:{key.start_mark.line + 1}", f"{found}; keys are words, such as `epochs: 30`")
            yield (*keys, key.value), key.start_mark.line
            yield from _lines(value, (*keys, key.value), name)
    elif isinstance(node, SequenceNode):
        for position, value in enumerate(node.value):
            yield (*keys, position), value.start_mark.line
            yield from _lines(value, (*keys, position), name)
