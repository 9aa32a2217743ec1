"""Docstrings on the reference's pages: lists of settings, formulas, and no markup that Sphinx should have read."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import inputgrad as ig
from inputgrad import attributions

pytest.importorskip("sphinx")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def docs() -> Iterator[tuple[ModuleType, ModuleType]]:
    sys.path.insert(0, str(DOCS))
    try:
        from extensions import docstrings, raw_markup

        yield docstrings, raw_markup
    finally:
        sys.path.remove(str(DOCS))


def shown(docs: Any, thing: Any, text: str, what: str = "class") -> list[str]:
    lines = text.splitlines()
    docs[0].as_restructured_text(None, what, "name", thing, None, lines)
    return [line for line in lines if line]


def test_each_setting_is_an_item_of_a_list(docs: Any) -> None:
    assert shown(docs, ig.Noise, "size: σ. draw: how |u| is drawn;\nuniform by default. Then more.") == [
        "* **size**: σ.",
        "* **draw**: how \\|u\\| is drawn; uniform by default. Then more.",
    ]
    assert shown(docs, ig.Noise, "A sentence. size: of it.") == ["A sentence. size: of it."]
    assert shown(docs, ig.Noise, "size: a head. other: a head.") == ["* **size**: a head. other: a head."], "only settings begin an item"


def test_formulas_stay_as_they_are(docs: Any) -> None:
    assert shown(docs, ig.Noise, "Noise.\n\n    R = |x|, ``n`` of them\n    S = 2\n\nsize: σ.") == [
        "Noise.",
        ".. code-block:: text",
        "    R = |x|, n of them",
        "    S = 2",
        "* **size**: σ.",
    ]
    assert shown(docs, ig.Noise, "size: σ.\n\n>>> size = 1") == ["* **size**: σ.", ">>> size = 1"]


def test_what_a_module_may_know_is_left_out(docs: Any) -> None:
    assert shown(docs, ig.places, "Places: where.\n\nMust not know heads, terms\nand engines.", "module") == ["Places: where."]


def test_markup_on_a_page_is_seen(docs: Any) -> None:
    page = "<article><p>a {} b</p><pre>``code``</pre></article>"
    for text in (":class:`Term`", "~inputgrad.Term", "``x``", "&lt;factory&gt;", "type inputgrad.adaptive.Of", "&lt;function f at 0x7fffffff1234&gt;"):
        assert docs[1].raw(page.format(text)), text
    assert docs[1].raw(page.format("ε ~ U(0, 1), a : b, ‖x‖")) == []


def test_every_attribution_is_in_the_catalogue() -> None:
    page = (DOCS / "catalogue.md").read_text(encoding="utf-8")
    assert [name for name in attributions.__all__ if f":: inputgrad.attributions.{name}\n" not in page] == []
