"""Which part of the audit knows which: observations know neither probes nor rules, and probes and rules not each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from inputgrad import audit

ROOT = Path(audit.__file__).parent
NAME = "inputgrad.audit"
TOOLS = ("call_sites", "torch_internals")
"""What every part may use: lines of the user's code, and torch's private parts."""
KNOWN = {
    "call_sites": (),
    "torch_internals": (),
    "observations": (*TOOLS, "observations"),
    "probes": (*TOOLS, "observations", "probes"),
    "source_edits": ("call_sites",),
    "source_flow": ("call_sites", "source_edits"),
    "replacements": ("call_sites", "observations", "replacements", "source_edits", "source_flow"),
    "rules": (*TOOLS, "observations", "rules", "finding", "rule_registry", "operation_patterns", "replacements", "source_edits", "source_flow"),
    "finding": ("call_sites",),
    "rule_registry": ("observations", "finding"),
    "operation_patterns": ("observations",),
    "rule_runner": ("observations", "finding", "rule_registry", "rules"),
}


def imported(path: Path) -> Iterator[str]:
    """The parts of the audit that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{NAME}."):
            inner = node.module.removeprefix(NAME).lstrip(".")
            yield from ([inner.split(".")[0]] if inner else [alias.name for alias in node.names])


@pytest.mark.parametrize("part", KNOWN)
def test_a_part_knows_no_more_than_it_should(part: str) -> None:
    files = list((ROOT / part).glob("*.py")) or [ROOT / f"{part}.py"]
    unwanted = {f"{file.name} imports {name}" for file in files for name in imported(file) if name not in KNOWN[part]}
    assert unwanted == set()
    assert any(map(list, map(imported, files))) or not KNOWN[part], "a reader of imports that sees nothing would pass"


def test_probes_know_the_recorder_and_not_the_watcher() -> None:
    for file in (ROOT / "probes").glob("*.py"):
        names = {node.module for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)}
        assert f"{NAME}.probes.run_watcher" not in names, file.name


def test_torchs_private_parts_are_named_in_one_file() -> None:
    private = ("torch._C", "_saved_", "_input_metadata", "_sequence_nr", "_forward_cls", "_get_current_function_mode", "require_backward_grad_sync")
    named = {(file.name, part) for file in ROOT.rglob("*.py") for part in private if part in file.read_text(encoding="utf-8")}
    assert {file for file, _ in named} == {"torch_internals.py"}
    assert len(named) == len(private)
