"""Every broad ``except`` lets errors of memory and of the device through, or stands here with the reason why it need not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import inputgrad as ig

ROOT = Path(ig.__file__).parent
BROAD = {"RuntimeError", "Exception", "BaseException"}
ASKS = {"is_machine_error", "is_device_error", "_about_the_model", "on_one_device"}
RAISES_AGAIN = "raises it again, whatever it is"
ASKS_NOTHING = "asks for an address or for the graph, and computes nothing"
SAYS_IT = "hands torch's text on, and remembers nothing"
BESIDE = "measures beside the user's own run, which meets the error itself if it stays"
NEED_NOT = {
    "audit/probes/data_writes.py": BESIDE,
    "audit/probes/provenance.py": ASKS_NOTHING,
    "audit/probes/second_derivatives.py": BESIDE,
    "audit/probes/tensor_parallel_entries.py": RAISES_AGAIN,
    "audit/probes/term_effects.py": BESIDE,
    "audit/probes/torch_func_probe.py": ASKS_NOTHING,
    "audit/script_runner.py": "a script's own end, told as such",
    "bench/ways.py": SAYS_IT,
    "devices.py": "asks which devices there are, and computes nothing",
    "passes/recomputed/saving.py": "raises again what is not torch's refusal of hooks",
    "passes/written_parameters.py": ASKS_NOTHING,
    "study/assembly.py": SAYS_IT,
    "study/checkpoint.py": SAYS_IT,
    "study/command.py": RAISES_AGAIN,
    "study/config.py": SAYS_IT,
    "study/files.py": SAYS_IT,
    "study/imports.py": SAYS_IT,
    "study/loading.py": SAYS_IT,
    "study/measures.py": SAYS_IT,
    "study/models.py": SAYS_IT,
    "study/settings.py": SAYS_IT,
    "study/training.py": SAYS_IT,
    "study/writing.py": SAYS_IT,
    "torch_internals/autograd.py": ASKS_NOTHING,
}


def handlers(source: str) -> Iterator[ast.ExceptHandler]:
    """Those that catch RuntimeError or more."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else BROAD
            if caught & BROAD:
                yield node


def asks(handler: ast.ExceptHandler) -> bool:
    body = [node for statement in handler.body for node in ast.walk(statement)]
    return bool(ASKS & {node.attr if isinstance(node, ast.Attribute) else node.id for node in body if isinstance(node, (ast.Attribute, ast.Name))})


SILENT = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if not all(map(asks, handlers(path.read_text())))}


def test_every_broad_except_lets_errors_of_memory_and_of_the_device_through() -> None:
    assert NEED_NOT.keys() == SILENT


@pytest.mark.parametrize("caught", ["RuntimeError", "(ValueError, RuntimeError)", "Exception", ""])
def test_one_that_does_not_is_seen(caught: str) -> None:
    wrong, right = (f"try:\n    f()\nexcept {caught}:\n    {body}\n" for body in ("pass", "is_machine_error(1)"))
    assert [asks(handler) for handler in handlers(wrong)] == [False]
    assert [asks(handler) for handler in handlers(right)] == [True]
