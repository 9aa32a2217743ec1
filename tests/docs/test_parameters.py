"""Every parameter of every public class, function and method has a text in its docstring: ``name: what it is``."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from inputgrad import adaptive, attributions, catalogue

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"\.\. auto(?:class|function):: (\S+)", REFERENCE))
TERMS = {f"inputgrad.{entry.name}" for entry in catalogue.entries() if entry.kind == "term"}
OTHERS = {f"inputgrad.attributions.{name}" for name in attributions.__all__} | {f"inputgrad.adaptive.{name}" for name in adaptive.__all__}
RECORDS = {f"inputgrad.diagnosis.records.{name}" for name in ("Explanation", "Finding", "Validation", "Verdict")}
MADE_BY_THE_LIBRARY = {"inputgrad.Batch", "inputgrad.Field", "inputgrad.EngineError", *RECORDS}
"""Nobody calls these classes: their methods are checked, their settings are not."""
OF_TORCH = {"inputgrad.lazy_adam": {"lr", "betas"}}
"""Settings of Adam under Adam's own names."""
METHODS = {
    "inputgrad.Batch": ("gradient", "gradient_at", "variable", "output_with", "output_and_variables", "inputs_with", "loss", "scores", "at", "loss_with"),
    "inputgrad.Field": ("d", "of", "slopes", "gradient", "laplacian", "biharmonic", "coordinate", "part"),
    "inputgrad.recipes.differentials.Differentials": ("of", "inputs", "target", "second", "values", "derivatives", "criterion"),
    "inputgrad.Weighted": ("scheduled", "named", "sample_weight"),
}
"""Methods that users call."""
PATHS = sorted(path for path in NAMED | TERMS | OTHERS if not path.startswith("inputgrad.engines.base."))
"""The parts of an engine are for those who read its source."""


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def said_of(text: str) -> set[str]:
    """The names that a docstring defines, ``name: …``, ``name, name: …``; and those that a sentence has in code quotes."""
    lists = re.finditer(r"(?<![\w.`'\"])\w+(?:, \w+)*(?=: )", text)
    return {name for names in lists for name in re.findall(r"\w+", names[0])} | set(re.findall(r"``(\w+)``", text))


def silent(thing: Any, text: str = "") -> list[str]:
    """The parameters of which neither the docstring nor ``text`` says anything."""
    signature = inspect.signature(thing)
    named = {name for name, parameter in signature.parameters.items() if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)}
    docstrings = [inspect.getdoc(thing) or "", text]
    if inspect.isclass(thing):  # a class says it itself, or the one that it is derived from does
        docstrings += [inspect.getdoc(base) or "" for base in thing.__mro__ if base.__module__.startswith("inputgrad")]
    return sorted(named - {"self", "cls"} - said_of("\n".join(docstrings)))


@pytest.mark.parametrize("path", PATHS)
def test_every_parameter_has_a_text(path: str) -> None:
    thing = found(path)
    if path not in MADE_BY_THE_LIBRARY:
        assert set(silent(thing)) <= OF_TORCH.get(path, set()), f"{path}: add a line `name: what it is` to the docstring"
    for name in METHODS.get(path, ()):
        assert silent(getattr(thing, name), inspect.getdoc(thing) or "") == [], f"{path}.{name}: add a line `name: what it is` to the docstring"


def test_a_silent_parameter_is_seen() -> None:
    def moved(x: int, by: int, *, times: int = 1) -> int:
        """Move.

        x, by: numbers.
        """
        return x + times * by

    assert silent(moved) == ["times"]
    assert said_of("steps: m. rule: how, for each ``of``. wrt: which") == {"steps", "rule", "of", "wrt"}
