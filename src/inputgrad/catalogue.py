"""The catalogue: every published loss in the library, read from its own docstring. Knows recipes, terms and perturbations.

These docstrings have a fixed form: a summary in one line; an indented formula; symbols and departures; "When not: …"; "Source: …"; an example.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.lazy import homes
from inputgrad.perturbations import attacks, fgsm
from inputgrad.perturbations.base import Perturbation
from inputgrad.terms.base import Term
from inputgrad.terms.function_term import FunctionTerm

Kind = Literal["recipe", "term", "perturbation"]


@dataclass(frozen=True)
class Entry:
    """One entry. name: as it is written in Python; family: the file it stands in, in words; formula, source, when_not: from its docstring."""

    name: str
    kind: Kind
    family: str
    summary: str
    formula: str
    source: str
    when_not: str
    settings: str
    text: str
    made_of: Any = dataclasses.field(repr=False, compare=False)

    @property
    def cited(self) -> str:
        """The source in short: authors and year."""
        authors_and_year = re.match(r"(.+? \d{4})", self.source)
        return authors_and_year[1] if authors_and_year else self.source


def entries() -> list[Entry]:
    """All entries: the recipes by family, then the terms and perturbations that they are made of."""
    return [*_recipes(), *_classes("term", _public("inputgrad.terms"), Term), *_classes("perturbation", vars(fgsm) | vars(attacks), Perturbation)]


def entry(name: str) -> Entry:
    """The entry of this name. Raises `ValueError` with the nearest one for an unknown name."""
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        raise ValueError(f"unknown term {name!r}; {nearest(name, known)}")
    return known[name]


def _recipes() -> Iterator[Entry]:
    for name, value in sorted(_public("inputgrad.recipes").items(), key=lambda item: (item[1].__module__, item[0])):
        if inspect.isfunction(value) and inspect.signature(value).return_annotation is not Tensor:  # a base loss is no entry
            yield _entry(name, "recipe", value)


def _public(package: str) -> dict[str, Any]:
    return {name: getattr(import_module(package), name) for name in homes(package)}


def _classes(kind: Kind, named: Mapping[str, Any], base: type) -> Iterator[Entry]:
    classes = {name: value for name, value in named.items() if inspect.isclass(value) and issubclass(value, base)}
    for name, value in sorted(classes.items()):
        if dataclasses.is_dataclass(value) and value is not FunctionTerm and not name.startswith("_"):
            yield _entry(name, kind, value)


def _entry(name: str, kind: Kind, made_of: Any) -> Entry:
    text = inspect.getdoc(made_of) or ""
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    return Entry(
        name=name,
        kind=kind,
        family=made_of.__module__.rsplit(".", 1)[-1].replace("_", " "),
        summary=_joined(paragraphs[0]) if paragraphs else "",
        formula=next((inspect.cleandoc(part) for part in paragraphs if all(line.startswith("    ") for line in part.splitlines())), ""),
        source=_said("Source", text),
        when_not=_said("When not", text),
        settings=_settings(made_of),
        text=text,
        made_of=made_of,
    )


def _said(word: str, text: str) -> str:
    """What follows ``word:`` at the beginning of a line, to the end of the paragraph or the next such word."""
    said = re.search(rf"^{word}s?:\s*(.*?)(?=\n\s*\n|\n(?:Sources?|When not):|\Z)", text, re.DOTALL | re.MULTILINE)
    return _joined(said[1]) if said else ""


def _settings(made_of: Any) -> str:
    """Names and defaults, as in a signature."""
    shown = []
    for name, parameter in inspect.signature(made_of).parameters.items():
        default = parameter.default
        value = getattr(default, "__name__", None) or repr(default)
        shown.append(name if default is parameter.empty else f"{name}={value}")
    return ", ".join(shown)


def _joined(paragraph: str) -> str:
    return " ".join(paragraph.split())
