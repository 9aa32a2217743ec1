"""What the examples, the pages and the benchmarks import is there: most of the examples run in the slow studies alone."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for folder in ("examples", "benchmarks", "docs", "tools") for path in sorted((ROOT / folder).rglob("*.py")) if "_build" not in path.parts]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """The modules of the library, and the names that are taken from each."""
    text = path.read_text()
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"^from inputgrad[\w.]* import [\w, ]+$", text, re.MULTILINE))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "inputgrad":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("path", [path for path in (*SCRIPTS, *PAGES) if any(imported(path))], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_there(path: Path) -> None:
    for module, name in imported(path):
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            if "pip install" not in str(error):
                raise
            pytest.skip(f"an extra is not here: {error}")
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
