"""An audit as JSON, on one line: a pure function of the record."""

import json
from dataclasses import asdict
from typing import Any

from inputgrad.report.audit_record import AuditRecord, Place, ReportedFinding

VERSION = 1


def render(record: AuditRecord) -> str:
    """One object. ``findings`` are those that count, ``suppressed`` those that a comment or the baseline speaks for."""
    return json.dumps(as_data(record), ensure_ascii=False, allow_nan=False) + "\n"


def as_data(record: AuditRecord) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "version": VERSION,
        "inputgrad": record.version,
        "script": {"command": list(record.command), "status": record.status, "ending": record.ending, "raised": record.raised or None},
        "steps": record.steps,
        "input_gradients": record.gradients,
        "counts": {severity: record.counts.get(severity, 0) for severity in ("error", "warning", "note")},
        "findings": [_finding(finding) for finding in record.standing],
        "suppressed": [_finding(finding) | {"by": finding.suppressed, "reason": finding.reason or None} for finding in record.suppressed],
        "notes": list(record.notes),
    }


def _finding(finding: ReportedFinding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        **_place(finding.place),
        "message": finding.message,
        "measured": finding.measured or None,
        "write": finding.write or None,
        "related": [_place(place) for place in finding.related],
        "times": finding.times,
    }


def _place(place: Place) -> dict[str, Any]:
    whole = asdict(place)
    return {name: whole[name] for name in ("file", "line", "function")} | {"source": place.code}
