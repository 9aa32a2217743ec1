"""The register of rules by their codes, which the files in `rules` fill when they are imported. Knows no single rule."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inputgrad.audit.finding import Finding, Severity
from inputgrad.audit.observations.run_facts import Facts

Check = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """One rule: its code, its name, and how it reads the facts."""

    code: str
    name: str
    severity: Severity
    check: Check


RULES: dict[str, Rule] = {}


def rule(code: str, name: str, severity: Severity = "error") -> Callable[[Check], Check]:
    """Enter a check in the register. A code is never used again."""

    def register(check: Check) -> Check:
        if code in RULES:
            raise ValueError(f"{code} is taken by {RULES[code].name!r}")
        RULES[code] = Rule(code, name, severity, check)
        return check

    return register
