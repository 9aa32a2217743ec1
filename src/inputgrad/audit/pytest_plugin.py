"""A fixture for tests of training code.

Loaded by pytest in every test run where the library is installed: imports neither torch nor the audit before it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from inputgrad.report.audit_record import Told

Block = Callable[..., contextlib.AbstractContextManager["list[Told]"]]


@pytest.fixture
def input_gradient_audit() -> Block:
    """A block that fails the test where the audit finds something: ``with input_gradient_audit(steps=3): train()``.

    steps: how many optimiser steps are watched. fail_on: "error", "warning", "note" or "never". select, ignore: codes, or what they begin with. The block hands
    out a list that holds the findings when it has ended. Comments ``# inputgrad: ignore[IG101]`` hold here as in the command.
    """
    return _block


@contextlib.contextmanager
def _block(steps: int = 3, fail_on: str = "error", select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Iterator[list[Told]]:
    from inputgrad.audit.outcome import Asked, Outcome, codes, record
    from inputgrad.audit.runner import Run
    from inputgrad.audit.watch import Watch
    from inputgrad.report import audit_text
    from inputgrad.report.audit_record import SEVERITIES

    if fail_on not in (*SEVERITIES, "never"):
        raise ValueError(f"fail_on must be one of {', '.join(SEVERITIES)}, never, got {fail_on!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}")
    asked = Asked(codes(select), codes(ignore))
    found: list[Any] = []
    watch = Watch(steps)
    with watch:
        yield found
    outcome = Outcome(watch.facts, asked, Path.cwd())
    told = record(Run(watch.facts, ("this test",), ""), outcome, steps)
    found += told.standing
    if told.reaches(fail_on):
        pytest.fail(f"the training code misuses input gradients:\n{audit_text.render(told)}", pytrace=False)
