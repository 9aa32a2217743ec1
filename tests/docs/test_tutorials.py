"""The tutorials, without running them (the pages' build does): every script is listed, has its parts, and uses names and arguments that the library has."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inputgrad as ig

DOCS = Path(__file__).parents[2] / "docs"
SCRIPTS = sorted((DOCS / "tutorials").glob("*.py"))
SECTIONS = ("Your own code", "The trap", "The same in this library")


@pytest.fixture(scope="module")
def extension() -> Iterator[Any]:
    sys.path.insert(0, str(DOCS))
    try:
        from extensions import tutorials

        yield tutorials
    finally:
        sys.path.remove(str(DOCS))


def dotted(node: ast.expr) -> list[str]:
    """``ig.recipes.r1`` -> ["ig", "recipes", "r1"]; [] for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*inner, node.attr] if inner and isinstance(node, ast.Attribute) else []


def found(names: list[str]) -> Any:
    """What the name means in the library; raises AttributeError where there is no such thing."""
    value: Any = ig
    for name in names[1:]:
        value = getattr(value, name)
    return value


def wrong_uses(code: str) -> list[str]:
    """Names under ``ig`` that do not exist, and arguments that their callables do not take."""
    wrong: list[str] = []
    for node in ast.walk(ast.parse(code)):
        names = dotted(node) if isinstance(node, ast.Attribute) else dotted(node.func) if isinstance(node, ast.Call) else []
        if names[:1] != ["ig"]:
            continue
        try:
            value = found(names)
        except AttributeError:
            wrong.append(".".join(names))
            continue
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            try:
                inspect.signature(value).bind_partial(*node.args, **keywords)
            except TypeError as error:
                wrong.append(f"{'.'.join(names)}: {error}")
    return wrong


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_uses_what_there_is(script: Path) -> None:
    code = script.read_text(encoding="utf-8")
    compile(code, str(script), "exec")
    assert not wrong_uses(code)


def test_a_wrong_use_is_found() -> None:
    assert wrong_uses("ig.recipes.wgan_pg()") == ["ig.recipes.wgan_pg"] * 2  # the call and its name
    assert len(wrong_uses("ig.recipes.wgan_gp(lambda_=10)")) == 1
    assert wrong_uses("ig.recipes.wgan_gp(weight=10)") == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_has_its_parts(script: Path) -> None:
    """A title, the reader's own code with its trap, the same in this library, in this order; and pictures."""
    code = script.read_text(encoding="utf-8")
    title = (ast.get_docstring(ast.parse(code)) or "").splitlines()
    assert len(title) > 2
    assert re.fullmatch(f"={{{len(title[0])},}}", title[1])
    places = [code.find(f"# {section}\n# -") for section in SECTIONS]
    assert -1 not in places
    assert places == sorted(places)
    assert "plt.subplots" in code or "ig.pictures." in code
    assert "set_num_threads" not in code, "the build runs every script with one thread"
    assert max(map(len, code.splitlines())) <= 100


def test_every_tutorial_has_its_place_in_the_gallery(extension: Any) -> None:
    assert sorted(extension.ORDER) == [script.stem for script in SCRIPTS]


def test_a_tutorial_whose_package_is_missing_is_left_out(extension: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "LEFT_OUT", ["text_embeddings"])
    assert re.search(extension.settings()["ignore_pattern"], "tutorials/text_embeddings.py")
    assert not re.search(extension.settings()["ignore_pattern"], "tutorials/gradient_penalty.py")
    assert "transformers" in extension.note()
    monkeypatch.setattr(extension, "LEFT_OUT", [])
    assert not re.search(extension.settings()["ignore_pattern"], "tutorials/text_embeddings.py")
    assert extension.note() == ""


def test_the_build_asks_nothing_of_the_network(extension: Any) -> None:
    """Neither the notebook services of sphinx-gallery nor a script from elsewhere is switched on."""
    assert not {"binder", "jupyterlite"} & set(extension.settings())
    configuration = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert '"sphinx-mathjax-offline"' in configuration
    assert "https://" not in configuration
