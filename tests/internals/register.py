"""Which private part of torch each test watches: the table of canaries."""

from collections.abc import Callable
from typing import Any

CANARIES: dict[str, list[str]] = {}
"""A function of `inputgrad.torch_internals`, as ``"module.function"`` -> the tests that fail when torch changes its part."""

MISSING: dict[str, list[str]] = {}
"""The same -> the tests of a torch that lacks its part."""


def canary(*functions: str) -> Callable[[Any], Any]:
    """Marks a test that shows what torch does today."""
    return _entered(CANARIES, functions)


def missing(*functions: str) -> Callable[[Any], Any]:
    """Marks a test of what happens without the private part."""
    return _entered(MISSING, functions)


def _entered(table: dict[str, list[str]], functions: tuple[str, ...]) -> Callable[[Any], Any]:
    def enter(test: Any) -> Any:
        for name in functions:
            table.setdefault(name, []).append(test.__name__)
        return test

    return enter
