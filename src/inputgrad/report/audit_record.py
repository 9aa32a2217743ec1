"""The record of one audit: everything that its reports show, as plain data. Made by the audit, read by the reports; knows neither torch nor a file format."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Place:
    """A line of the user's code. file: as seen from the working directory, absolute where it does not lie below; shown: ``train.py:27``."""

    file: str
    line: int
    function: str
    code: str
    shown: str
    excerpt: tuple[tuple[int, str], ...] = ()
    """The lines around it, with their numbers."""


@dataclass(frozen=True)
class ReportedFinding:
    """One finding. suppressed: "comment" or "baseline" where it does not count; reason: what the comment says."""

    code: str
    name: str
    severity: str
    place: Place
    message: str
    measured: str
    write: str
    related: tuple[Place, ...]
    times: int
    suppressed: Literal["", "comment", "baseline"] = ""
    reason: str = ""


@dataclass(frozen=True)
class AuditRecord:
    """One audit of one run. ending: "steps" (the audit ended it), "script" (it came to its own end), "raised"."""

    version: str
    command: tuple[str, ...]
    steps: int
    wanted: int
    gradients: int
    """How many input gradients were seen."""
    ending: Literal["steps", "script", "raised"]
    status: int
    """The script's own exit status."""
    raised: str
    """What it raised, in one line."""
    findings: tuple[ReportedFinding, ...]
    notes: tuple[str, ...] = ()
    pages: tuple[tuple[str, str], ...] = ()
    """The pages of the rules that found something, by their codes."""

    @property
    def standing(self) -> tuple[ReportedFinding, ...]:
        """The findings that count."""
        return tuple(finding for finding in self.findings if not finding.suppressed)

    @property
    def suppressed(self) -> tuple[ReportedFinding, ...]:
        return tuple(finding for finding in self.findings if finding.suppressed)

    def reaches(self, level: str) -> bool:
        """Whether a finding is as severe as ``level`` or more; for "never", none is."""
        return level != "never" and any(SEVERITIES.index(finding.severity) <= SEVERITIES.index(level) for finding in self.standing)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings count, by severity."""
        found = Counter(finding.severity for finding in self.standing)
        return {severity: found[severity] for severity in SEVERITIES if found[severity]}


def many(number: int, word: str) -> str:
    """``"1 step"``, ``"2 steps"``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def closing(record: AuditRecord) -> str:
    """The line that every report ends with: what was found, and in how many steps."""
    found = ", ".join(many(number, severity) for severity, number in record.counts.items()) or "nothing found"
    hidden = Counter(str(finding.suppressed) for finding in record.suppressed)
    ways = [f"{hidden[way]} {words}" for way, words in (("comment", "ignored by comments"), ("baseline", "in the baseline")) if hidden[way]]
    ended = ""
    if record.ending == "raised":
        ended = f", then the script raised {record.raised}"
    elif record.ending == "script":
        status = f", with status {record.status}" if record.status else ""
        ended = f" (the script ended by itself{status})"
    return "; ".join([f"{found} in {many(record.steps, 'step')}{ended}", *([", ".join(ways)] if ways else [])])


def hint(record: AuditRecord) -> str:
    """What to do where the run showed too little to judge by; "" where it showed enough."""
    if record.ending == "raised":
        return ""
    if not record.steps:
        return (
            "no optimiser step was seen: the audit watches steps of torch.optim optimisers in this process and its main thread. Does the script need arguments "
            "to train, does it start other processes, or does it end before the first step?"
        )
    if not record.gradients:
        return (
            f"no input gradient was taken in the {many(record.steps, 'step')} watched. Does the loss use one only now and then, or after some epochs? "
            "--steps N watches more."
        )
    return ""
