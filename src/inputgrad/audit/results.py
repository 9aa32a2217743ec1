"""Makes the record that reports show of what a run has shown: which findings were asked for, are ignored, or are in the baseline.

Knows no file format: the reports are made of the record alone.
"""

import contextlib
import linecache
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import inputgrad
from inputgrad.audit.call_sites import Site
from inputgrad.audit.explain import page
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.rule_runner import all_rules, run_rules
from inputgrad.audit.script_runner import Run
from inputgrad.audit.suppressions import Baseline, IgnoreComments
from inputgrad.errors import nearest
from inputgrad.report.audit_record import AuditRecord, Place, ReportedFinding, many

_AROUND = 3


@dataclass(frozen=True)
class RuleSelection:
    """Which rules the report shows. select, ignore: codes or their beginnings, such as ``IG1``; no ``select`` means all."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `ValueError` for what no code begins with."""
        known = all_rules()
        for code in (*self.select, *self.ignore):
            if not code or not any(name.startswith(code) for name in known):
                raise ValueError(f"{code!r} is the beginning of no rule's code; {nearest(code, known)}")

    def wants(self, code: str) -> bool:
        return (not self.select or code.startswith(self.select)) and not (self.ignore and code.startswith(self.ignore))


def split_codes(given: Iterable[str]) -> tuple[str, ...]:
    """``["IG1,IG203", "ig4"]`` as ``("IG1", "IG203", "IG4")``.

    >>> split_codes(["IG1,IG203", "ig4"])
    ('IG1', 'IG203', 'IG4')
    """
    return tuple(code.strip().upper() for text in given for code in text.split(",") if code.strip())


class AuditResult:
    """The findings of one run after all that speaks against them. ``folder``: the working directory in which the run began."""

    def __init__(self, facts: Facts, selection: RuleSelection, folder: Path, *, file: str | None = None, baseline: Baseline | None = None) -> None:
        self._folder = folder
        self._selection, self._baseline = selection, baseline
        with contextlib.chdir(folder):  # messages name lines as they are seen from there
            self.findings = [finding for finding in run_rules(facts) if selection.wants(finding.code)]
        self._ignores = IgnoreComments(_files(facts, self.findings, file))
        self.reported: list[ReportedFinding] = []
        self.kept: list[Finding] = []
        """The findings that no comment ignores, in the baseline or not."""
        for finding in self.findings:
            self.reported.append(self._report(finding))

    def _report(self, finding: Finding) -> ReportedFinding:
        comment = self._ignores.take(finding)
        if comment is None:
            self.kept.append(finding)
        known = comment is None and self._baseline is not None and self._baseline.take(finding)
        return ReportedFinding(
            finding.code,
            all_rules()[finding.code].name,
            finding.severity,
            self._place(finding.site, around=True),
            finding.message,
            finding.measured,
            finding.write,
            tuple(self._place(site) for site in finding.related),
            finding.times,
            "comment" if comment is not None else "baseline" if known else "",
            comment.reason if comment is not None else "",
        )

    def _place(self, site: Site, around: bool = False) -> Place:
        path = Path(site.file)
        path = path.relative_to(self._folder) if path.is_relative_to(self._folder) else path
        lines = linecache.getlines(site.file)
        first = max(site.line - _AROUND, 1)
        excerpt = tuple(enumerate((line.rstrip("\n") for line in lines[first - 1 : site.line + _AROUND]), first)) if around and site.line else ()
        with contextlib.chdir(self._folder):
            return Place(path.as_posix(), site.line, site.function, site.code, site.shown, excerpt)

    def notes(self) -> list[str]:
        """Comments that ignore nothing or cannot be meant so, and entries of the baseline that are gone."""
        notes, known = [], all_rules()
        for ignore, idle in self._ignores.idle([code for code in known if not self._selection.wants(code)]):
            shown = self._place(Site(ignore.file, ignore.line)).shown
            unknown = [code for code in idle if code not in known]
            notes += [f"{shown}: ignore[{code}] is not a rule; {nearest(code, known)}" for code in unknown]
            rest = [code for code in idle if code in known]
            if rest or not ignore.codes:
                named = f"[{', '.join(rest)}]" if rest else ""
                notes.append(f"{shown}: ignore{named} ignored nothing in this run")
        if self._baseline is not None and self._baseline.stale:
            notes.append(f"{many(self._baseline.stale, 'finding')} of the baseline did not come up any more; --write-baseline brings it up to date")
        return notes


def make_record(run: Run, result: AuditResult, steps: int, notes: Sequence[str] = ()) -> AuditRecord:
    """What the reports show of a run."""
    ending = "raised" if run.error is not None else "steps" if run.facts.ended_early else "script"
    reported = tuple(result.reported)
    return AuditRecord(
        version=inputgrad.__version__,
        command=run.argv,
        steps=steps_seen(run.facts),
        wanted=steps,
        gradients=gradients_seen(run.facts),
        ending=ending,  # type: ignore[arg-type]  # one of the endings, by the runner
        status=run.status,
        raised=_line(run.error) if run.error is not None else "",
        findings=reported,
        notes=(*notes, *result.notes()),
        pages=tuple((code, page(code)) for code in dict.fromkeys(sorted(item.code for item in reported))),
    )


def gradients_seen(facts: Facts) -> int:
    """How many input gradients were taken: by the script, by an optimiser that moves inputs, by a criterion of this library."""
    by_others = sum(step.of_inputs for step in facts.steps) + sum(event.name == "criterion called" for event in facts.events)
    return sum(1 for _ in facts.input_gradients) + by_others


def steps_seen(facts: Facts) -> int:
    """How many optimiser steps were watched: of the optimiser that made the most."""
    numbers = [step.number + 1 for step in facts.steps if not step.of_inputs]
    return max(numbers, default=0)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= 120 else f"{text[:119]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _files(facts: Facts, findings: Collection[Finding], file: str | None) -> set[str]:
    """The user's own files that the run has shown."""
    sites = [*(finding.site for finding in findings), *(call.site for call in facts.calls), *(step.site for step in facts.steps)]
    return {site.file for site in sites} | ({file} if file else set())
