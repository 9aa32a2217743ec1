"""The pages say what is so: their code runs, what they refer to exists, and every public name is described."""

import re
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import inputgrad

ROOT = Path(__file__).parents[2]
MADE = {"_build", "gallery", "catalogue", "audit_rules"}
"""Folders of docs/ that the build makes."""
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if not MADE & set(path.parts))
SCRIPTS = [path for path in (*(ROOT / "docs").rglob("*.py"), *(ROOT / "examples").glob("*.py")) if not MADE & set(path.parts)]
TEXTS = sorted([*PAGES, ROOT / "CITATION.cff", *SCRIPTS])
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
DIRECTIVE = re.compile(r"^```\{(?:literalinclude|image|include)\} (\S+)", re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The page's code blocks of a language, each with the line on which its code begins."""
    text = page.read_text(encoding="utf-8")
    return [(text[: match.start(2)].count("\n") + 1, match.group(2)) for match in FENCE.finditer(text) if match.group(1) == language]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """One thread, and nothing that torch.compile remembers of another page."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_code_blocks_run(page: Path) -> None:
    """The blocks of a page share one namespace, in order. Warnings are errors, as everywhere in the tests."""
    namespace: dict[str, Any] = {"__name__": "page"}
    with warnings.catch_warnings():
        # torch's own, raised while torch.compile and torch.func.jvp import their parts
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        for line, code in blocks(page, "python"):
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)  # the blank lines put the page's line numbers into a traceback


def test_the_diff_of_the_readme_is_that_of_the_examples() -> None:
    (_, diff), *_ = blocks(ROOT / "README.md", "diff")
    before, after = ((ROOT / "examples" / name).read_text(encoding="utf-8") for name in ("before_popular_recipe.py", "after_inputgrad.py"))
    lines = [line for line in diff.splitlines() if line.strip()]
    assert {"-", "+"} <= {line[0] for line in lines}
    for line in lines:
        code = line[1:].strip()
        if not code.startswith("for "):  # the examples name their batches otherwise
            assert line[0] not in "- " or code in before
            assert line[0] not in "+ " or code in after


def references(page: Path) -> list[str]:
    """Links and directives that lead to another place of this repository."""
    text = page.read_text(encoding="utf-8")
    internal = [link for link in LINK.findall(FENCE.sub("", text)) if not link.startswith(("http://", "https://"))]
    return internal + DIRECTIVE.findall(text)


def named(page: Path) -> list[str]:
    """Files of the examples and the documentation that the page names."""
    return re.findall(r"(?:examples|docs)/[\w/.-]+\.(?:py|yaml|md|png)\b", page.read_text(encoding="utf-8"))


def test_there_is_something_to_refer_to() -> None:
    """A page may refer to nothing; the tests below would also pass if none were understood."""
    readme = ROOT / "README.md"
    assert references(readme)
    assert named(readme)
    assert any("#" in reference for page in PAGES for reference in references(page))
    assert any(DIRECTIVE.search(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_refers_to_exists(page: Path) -> None:
    for reference in references(page):
        path, _, anchor = reference.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{reference} does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, f"{reference}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_that_a_page_names_exist(page: Path) -> None:
    for path in named(page):
        assert (ROOT / path).exists(), f"{path} does not exist"


def test_every_public_name_is_in_the_reference() -> None:
    pytest.importorskip("sphinx")  # which the pages' configuration imports
    settings, page = runpy.run_path(str(ROOT / "docs" / "conf.py")), [(ROOT / "docs" / "reference.md").read_text(encoding="utf-8")]
    settings["expand"](None, "reference", page)
    rooms = [getattr(inputgrad, name) for name in ("recipes", "heads", "places", "perturb", "attributions", "adaptive", "engines", "pictures")]
    names = {name for room in (inputgrad, *rooms) for name in (getattr(room, "__all__", None) or dir(room)) if not name.startswith("_")}
    assert len(names) > 170
    missing = sorted(name for name in names if not re.search(rf"([.`]|:members: .*\b){name}\b", page[0]))
    assert not missing, f"not in docs/reference.md: {missing}"


def test_every_term_has_an_entry_in_the_catalogue() -> None:
    pytest.importorskip("sphinx")
    catalogue = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    pages = runpy.run_path(str(ROOT / "docs" / "conf.py"))["with_every_term"](catalogue) + (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert [name for name in inputgrad.__all__ if not re.search(rf"inputgrad\.{name}\b", pages)] == []


def test_every_recipe_is_on_the_page_of_purposes() -> None:
    from inputgrad import catalogue

    page = (ROOT / "docs" / "which_loss.md").read_text(encoding="utf-8")
    families = {"pixel_attribution_prior": "pixel_", "sparse_attribution_prior": "sparse_"}
    assert [entry.name for entry in catalogue.entries() if entry.kind == "recipe" and families.get(entry.name, entry.name) not in page] == []


def test_every_engine_is_described() -> None:
    for page in ("README.md", "docs/engines.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert all(f'`"{name}"`' in text for name in inputgrad.engines.ENGINES), page


def test_the_training_page_is_that_of_the_configs() -> None:
    config = pytest.importorskip("inputgrad.study.config")
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe")
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    examples = blocks(ROOT / "docs" / "training.md", "yaml")
    assert examples
    for _, block in examples:
        config.Config.model_validate({"name": "page", "data": "digits", **yaml.load(block)})
    keys = {*config.Config.model_fields, *config.Measures.model_fields}
    assert not [key for key in keys if f"`{key}`" not in text]


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "index.md"]
    assert pages
    for page in pages:
        assert re.search(rf"^{page.relative_to(ROOT / 'docs').with_suffix('').as_posix()}$", index, re.MULTILINE), page


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_no_machine_paths_and_no_registry_hosts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    forbidden = [f"/{name}/" for name in ("work", "tmp", "root", "home")] + [str(ROOT), "pypi" + ".org", "--index-url", "localhost"]
    assert not [word for word in forbidden if word in text]
