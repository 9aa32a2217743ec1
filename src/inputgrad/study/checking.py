"""Checking a config: every problem at once, each with file and line, what was found, and the nearest right thing.

Translates pydantic's findings; knows no key by name.
"""

import typing
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from inputgrad.errors import nearest
from inputgrad.study.config import Config
from inputgrad.study.imports import nothing_imported
from inputgrad.study.problems import ConfigError, Problem, shown
from inputgrad.study.settings import code_in
from inputgrad.study.source import Override, Source, overridden, read
from inputgrad.study.yaml_text import Keys


def configs(paths: Sequence[Path], overrides: Sequence[Override], *, code: bool = True) -> list[Config]:
    """The configs in the files, or with no file the one that the overrides alone make. Raises `ConfigError` with the problems of them all.

    Imports and calls nothing that a config names. code: whether a config may name code at all.
    """
    return [config for _, config in checked(paths, overrides, code=code)]


def checked(paths: Sequence[Path], overrides: Sequence[Override], *, code: bool = True) -> list[tuple[Source, Config]]:
    """As `configs`, each with its source."""
    found: list[tuple[Source, Config]] = []
    problems: list[Problem] = []
    given: list[Path | None] = list(paths)
    for path in given or [None]:
        try:
            source = _source(path, overrides)
            found.append((source, check(source, code=code)))
        except ConfigError as error:
            problems += error.problems
    problems += _same_names([config for _, config in found])
    if problems:
        raise ConfigError(problems)
    return found


def check(source: Source, *, code: bool = True) -> Config:
    """The config that the source says. Raises `ConfigError` with all its problems."""
    try:
        with nothing_imported():
            return Config.model_validate(source.values, context={"code": code})
    except ValidationError as error:
        raise ConfigError([_problem(source, details) for details in error.errors(include_url=False)]) from error


def load_code(found: Sequence[tuple[Source, Config]]) -> None:
    """Import what the configs name. Raises `ConfigError` with every name that cannot be loaded."""
    problems = []
    for source, config in found:
        for keys, reference, code in code_in(config):
            try:
                code.load(reference)
            except ValueError as error:
                written = source.written(keys)
                problems.append(Problem(source.place(written), ".".join(map(str, written)), str(error)))
    if problems:
        raise ConfigError(problems)


def _source(path: Path | None, overrides: Sequence[Override]) -> Source:
    if path is None:
        return overridden(Source("command line", {"name": "run"}), overrides)
    source = read(path, overrides)
    return Source(source.name, {"name": path.stem, **source.values}, source.overrides, source.lines)


def _problem(source: Source, details: ErrorDetails) -> Problem:
    keys = source.written(details["loc"])
    return Problem(source.place(keys), ".".join(map(str, keys)), _message(details))


def _message(details: ErrorDetails) -> str:
    kind, found = details["type"], details["input"]
    *parents, last = details["loc"] or ("",)
    if kind == "extra_forbidden":
        return f"unknown name {shown(last)}; {nearest(last, _fields(tuple(parents)))}"
    if kind == "missing":
        return f"{last} is missing; known here: {', '.join(_fields(tuple(parents)))}"
    if kind == "literal_error":
        return f"got {shown(found)}; {nearest(found, _choices(tuple(parents), str(last)))}"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    return f"got {shown(found)}, expected: {details['msg'][0].lower()}{details['msg'][1:]}"


def _fields(keys: Keys) -> list[str]:
    model = _model_at(keys)
    return list(model.model_fields) if model else []


def _choices(keys: Keys, name: str) -> tuple[Any, ...]:
    model = _model_at(keys)
    annotation = model.model_fields[name].annotation if model and name in model.model_fields else None
    return next((typing.get_args(part) for part in _parts(annotation) if typing.get_origin(part) is typing.Literal), ())


def _model_at(keys: Keys) -> type[BaseModel] | None:
    """The pydantic model whose settings stand below ``keys``."""
    model: type[BaseModel] | None = Config
    for key in keys:
        if isinstance(key, int):
            continue
        field = model.model_fields.get(key) if model else None
        parts = _parts(field.annotation) if field else []
        model = next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
    return model


def _parts(annotation: Any) -> list[Any]:
    """The annotation and everything inside its unions and lists."""
    arguments = () if typing.get_origin(annotation) is typing.Literal else typing.get_args(annotation)
    return [annotation, *(inner for part in arguments for inner in _parts(part))]


def _same_names(found: Sequence[Config]) -> list[Problem]:
    """Names that are one directory, also where a file system takes A for a and é for e and an accent."""
    folded = [unicodedata.normalize("NFC", config.name).casefold() for config in found]
    problems = []
    for key in sorted({key for key in folded if folded.count(key) > 1}):
        names = sorted({config.name for config, own in zip(found, folded, strict=True) if own == key})
        told = " and ".join(map(repr, names))
        problems.append(Problem("", "name", f"{folded.count(key)} configs have the name {told}, which is their directory: give each its own `name:`"))
    return problems
