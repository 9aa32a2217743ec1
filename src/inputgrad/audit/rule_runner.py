"""Runs the rules on what a run has shown, and finds a rule by its code. Knows no single rule and no report."""

import math
from dataclasses import replace

from inputgrad.audit import rules
from inputgrad.audit.finding import SEVERITIES, Finding
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.rule_registry import RULES, Rule
from inputgrad.errors import nearest


def all_rules() -> dict[str, Rule]:
    """Every rule by its code; the files in `rules` are imported for it."""
    rules.load()
    return RULES


def run_rules(facts: Facts) -> list[Finding]:
    """What the rules say, the same finding at the same line once: errors first, the larger measured effect first, then in the order of the lines."""
    merged: dict[tuple[str, str, int], Finding] = {}
    for known in sorted(all_rules().values(), key=lambda item: item.code):
        for finding in known.check(facts):
            earlier = merged.get(finding.key)
            best = finding if earlier is None or _tells_more(finding, earlier) else earlier
            merged[finding.key] = replace(best, times=(earlier.times if earlier else 0) + 1)
    return sorted(merged.values(), key=_order)


def _tells_more(finding: Finding, earlier: Finding) -> bool:
    """Whether it is the one to show of two at one line: measured, or of a larger effect."""
    if bool(finding.measured) != bool(earlier.measured):
        return bool(finding.measured)
    return (finding.effect or 0.0) > (earlier.effect or 0.0)


def _order(finding: Finding) -> tuple[int, float, str, int, str]:
    effect = -1.0 if finding.effect is None or math.isnan(finding.effect) else finding.effect
    return (SEVERITIES.index(finding.severity), -effect, finding.site.file, finding.site.line, finding.code)


def known_code(code: str) -> str:
    """The code itself. Raises `ValueError` with the nearest one for an unknown one."""
    if code not in all_rules():
        raise ValueError(f"{code!r} is an unknown rule; {nearest(code, RULES)}")
    return code
