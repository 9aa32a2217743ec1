"""The reference's signatures: every parameter has its type, as the source spells it, and each name of a type is explained."""

import builtins
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inputgrad import attributions, catalogue

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\.\. auto(?:class|function):: (\S+)", REFERENCE)
TERMS = [f"inputgrad.{entry.name}" for entry in catalogue.entries() if entry.kind == "term"]
FOREIGN = {
    "Tensor",
    "Module",
    "GradScaler",
    "Figure",
    "Path",
    "Iterator",
    "Mapping",
    "Sequence",
    "Callable",
    "AbstractContextManager",
    "GradientSource",
    "Coordinates",
    "Engine",
}
"""Types of torch, of the standard library and of matplotlib; and those that users only pass on."""


@pytest.fixture(scope="module")
def signatures() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    try:
        from extensions import signatures as module

        yield module
    finally:
        sys.path.remove(str(DOCS))


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def shown(signatures: Any, path: str) -> str:
    thing = found(path)
    signature = signatures.with_types(None, "class" if inspect.isclass(thing) else "function", path, thing, None, "()", None)
    return "".join(signature)


def explained(name: str) -> bool:
    return (
        hasattr(builtins, name)
        or hasattr(typing, name)
        or name in FOREIGN
        or f".. py:type:: {name}\n" in REFERENCE
        or hasattr(attributions, name)
        or any(path.endswith(f".{name}") for path in (*NAMED, *TERMS))
    )


@pytest.mark.parametrize("path", sorted({*NAMED, *TERMS} - {"inputgrad.EngineError"}))
def test_every_parameter_has_a_type_that_is_explained(signatures: Any, path: str) -> None:
    text = shown(signatures, path)
    if path.rpartition(".")[2] in signatures.MADE_BY_THE_LIBRARY:
        assert not text
        return
    for name, parameter in inspect.signature(found(path)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        assert re.search(rf"\b{name}: \S", text), f"{path}: {name} has no type in {text}"
    if path.startswith("inputgrad.engines.base."):  # the parts of an engine are for those who read its source
        return
    types = re.sub(r" = [^,]*|'[^']*'", "", text)
    for name in re.findall(r"(?<![\w.])[A-Z]\w+", re.sub(r"~?[\w.]+\.(?=[A-Z])", "", types)):
        assert explained(name), f"{path}: nothing explains {name}; add it to the last section of reference.md"


def test_aliases_stay_and_choices_are_written_out(signatures: Any) -> None:
    text = shown(signatures, "inputgrad.GradientMatch")
    assert "of: Of = 'output', wrt: Wrt = 0, at: ~inputgrad.Place | None = None" in text
    assert "per: Literal['sample', 'batch'] = 'sample'" in text


@pytest.mark.parametrize("path", sorted({*NAMED, *TERMS} - {"inputgrad.EngineError"}))
def test_no_markup_and_no_quotes_around_types(signatures: Any, path: str) -> None:
    """Once Sphinx has made links of `~inputgrad.Name`: in quotes, or in a choice, it would not."""
    text = shown(signatures, path)
    assert not re.search(r"<factory|<function|<lambda|at 0x", text)
    assert not [quoted for quoted in re.findall(r"'[^']*'|\"[^\"]*\"", text) if "~" in quoted]


def test_a_type_in_quotes_is_shown_without_them(signatures: Any) -> None:
    assert "start: Literal['uniform', 'none'] | ~inputgrad.Perturbation | Callable[[~inputgrad.Batch], Tensor] = 'uniform'" in shown(
        signatures, "inputgrad.PGD"
    )
    assert "head: ~inputgrad.heads.Head = EachOutput()" in shown(signatures, "inputgrad.heads.Inner")


def test_an_unknown_type_is_seen() -> None:
    assert not explained("Rainbow")
    assert explained("Of")
    assert explained("Place")
