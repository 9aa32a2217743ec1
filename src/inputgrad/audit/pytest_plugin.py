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
    from inputgrad.report.audit_record import ReportedFinding

Block = Callable[..., contextlib.AbstractContextManager["list[ReportedFinding]"]]


@pytest.fixture
def input_gradient_audit() -> Block:
    """A block that fails the test where the audit finds something: ``with input_gradient_audit(steps=3): train()``.

    steps: how many optimiser steps are watched. fail_on: "error", "warning", "note" or "never". select, ignore: codes, or what they begin with. The block hands
    out a list that holds the findings when it has ended. Comments ``# inputgrad: ignore[IG101]`` hold here as in the command.
    """
    return _block


@contextlib.contextmanager
def _block(steps: int = 3, fail_on: str = "error", select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Iterator[list[ReportedFinding]]:
    from inputgrad.audit.probes.run_watcher import RunWatcher
    from inputgrad.audit.results import AuditResult, RuleSelection, make_record, split_codes
    from inputgrad.audit.script_runner import Run
    from inputgrad.report import audit_text
    from inputgrad.report.audit_record import SEVERITIES

    if fail_on not in (*SEVERITIES, "never"):
        raise ValueError(f"fail_on must be one of {', '.join(SEVERITIES)}, never, got {fail_on!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}")
    selection = RuleSelection(split_codes(select), split_codes(ignore))
    findings: list[Any] = []
    watcher = RunWatcher(steps)
    with watcher:
        yield findings
    result = AuditResult(watcher.facts, selection, Path.cwd())
    audited = make_record(Run(watcher.facts, ("this test",), ""), result, steps)
    findings += audited.standing
    if audited.reaches(fail_on):
        pytest.fail(f"the training code misuses input gradients:\n{audit_text.render(audited)}", pytrace=False)
