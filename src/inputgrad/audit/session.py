"""Audits a block of code: ``with audit() as findings:`` around a few steps. Knows neither the command nor a report."""

from collections.abc import Iterator
from contextlib import contextmanager

from inputgrad.audit.finding import Finding
from inputgrad.audit.probes.run_watcher import RunWatcher
from inputgrad.audit.rule_runner import run_rules


@contextmanager
def audit(steps: int = 3) -> Iterator[list[Finding]]:
    """Watch the block, at most ``steps`` optimiser steps of it, and hand out what is wrong with its input gradients.

    The list is empty inside the block and filled at its end, also where the block raises; what it raises is raised. The block's own values, gradients, random
    draws and modes are as they would be without it.

    Raises `ValueError` for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}")
    watcher, findings = RunWatcher(steps), list[Finding]()
    try:
        with watcher:
            yield findings
    finally:
        findings += run_rules(watcher.facts)
