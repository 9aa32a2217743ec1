"""A finding: what one rule says of a run, with its line in the user's code. Knows no rule and no report."""

from dataclasses import dataclass
from typing import Literal

from inputgrad.audit.call_sites import Site

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be: where, what, how large the effect is, and the line to write instead.

    measured: the effect in words and numbers of this run; "" where it was not measured. write: the code to write, or what to do. related: other lines.
    effect: how far what is trained is off, relative to what it should be (1: by as much), or None; the findings of one severity stand in this order.
    """

    code: str
    severity: Severity
    site: Site
    message: str
    measured: str = ""
    write: str = ""
    related: tuple[Site, ...] = ()
    times: int = 1
    effect: float | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.code, self.site.file, self.site.line)
