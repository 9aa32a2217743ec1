"""Findings: what a rule says of a run. And the register of rules, by their codes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from inputgrad.audit.facts import Facts
from inputgrad.audit.sites import Site
from inputgrad.errors import nearest

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be: where, what, how large the effect is, and the line to write instead.

    measured: the effect in words and numbers of this run; "" where it was not measured. write: the code to write, or what to do. related: other lines.
    """

    code: str
    severity: Severity
    site: Site
    message: str
    measured: str = ""
    write: str = ""
    related: tuple[Site, ...] = ()
    times: int = 1

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.code, self.site.file, self.site.line)


@dataclass(frozen=True)
class Rule:
    """One rule: its code, its name, and how it reads the facts."""

    code: str
    name: str
    severity: Severity
    check: Callable[[Facts], Iterator[Finding]]


RULES: dict[str, Rule] = {}
Check = Callable[[Facts], Iterator[Finding]]


def rule(code: str, name: str, severity: Severity = "error") -> Callable[[Check], Check]:
    """Enter a check in the register. A code is never used again."""

    def entered(check: Check) -> Check:
        if code in RULES:
            raise ValueError(f"{code} is taken by {RULES[code].name!r}")
        RULES[code] = Rule(code, name, severity, check)
        return check

    return entered


def findings(facts: Facts) -> list[Finding]:
    """What the rules say, the same finding at the same line once, in the order of the lines; errors first at each."""
    from inputgrad.audit import rules  # they enter themselves when they are imported

    rules.load()
    found: dict[tuple[str, str, int], Finding] = {}
    for known in sorted(RULES.values(), key=lambda item: item.code):
        for finding in known.check(facts):
            earlier = found.get(finding.key)
            best = finding if earlier is None or (finding.measured and not earlier.measured) else earlier
            found[finding.key] = replace(best, times=(earlier.times if earlier else 0) + 1)
    return sorted(found.values(), key=lambda item: (item.site.file, item.site.line, SEVERITIES.index(item.severity), item.code))


def known_code(code: str) -> str:
    """The code itself. Raises `ValueError` with the nearest one for an unknown one."""
    from inputgrad.audit import rules

    rules.load()
    if code not in RULES:
        raise ValueError(f"{code!r} is no rule; {nearest(code, RULES)}")
    return code
