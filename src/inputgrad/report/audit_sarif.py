"""An audit as SARIF 2.1.0 (OASIS Standard), which code hosts and editors show beside the lines: a pure function of the record."""

import hashlib
import json
from collections import Counter
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from inputgrad.report.audit_record import AuditRecord, Place, ReportedFinding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(record: AuditRecord) -> str:
    """One log with one run. What a comment or the baseline speaks for is there, marked as suppressed."""
    rules = list(dict.fromkeys(sorted(finding.code for finding in record.findings)))
    seen: Counter[tuple[str, str, str]] = Counter()
    run = {
        "tool": {"driver": {"name": "inputgrad audit", "version": record.version, "semanticVersion": record.version, "rules": _rules(record, rules)}},
        "invocations": [_invocation(record)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, rules.index(finding.code), seen) for finding in record.findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rules(record: AuditRecord, codes: list[str]) -> list[dict[str, Any]]:
    pages, names, levels = (
        dict(record.pages),
        {finding.code: finding.name for finding in record.findings},
        {finding.code: finding.severity for finding in record.findings},
    )
    return [
        {
            "id": code,
            "name": "".join(word.capitalize() for word in names[code].split()),
            "shortDescription": {"text": names[code]},
            "help": {"text": pages.get(code, names[code]), "markdown": pages.get(code, names[code])},
            "defaultConfiguration": {"level": levels[code]},
        }
        for code in codes
    ]


def _invocation(record: AuditRecord) -> dict[str, Any]:
    notes = [{"level": "note", "message": {"text": note}} for note in record.notes]
    if record.raised:
        notes.append({"level": "error", "message": {"text": f"the script raised {record.raised}"}})
    return {
        "executionSuccessful": record.ending != "raised",
        "exitCode": record.status,
        "arguments": list(record.command),
        "toolExecutionNotifications": notes,
        "properties": {"steps": record.steps, "inputGradients": record.gradients},
    }


def _result(finding: ReportedFinding, rule: int, seen: Counter[tuple[str, str, str]]) -> dict[str, Any]:
    key = (finding.code, finding.place.file, finding.place.code)
    seen[key] += 1
    line = hashlib.sha256("\0".join((*key, str(seen[key]))).encode("utf-8", "replace")).hexdigest()
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": "\n".join(part for part in (finding.message, _named("Measured", finding.measured), _named("Write", finding.write)) if part)},
        "locations": [_location(finding.place)],
        "partialFingerprints": {"lineContent/v1": line},
        "occurrenceCount": max(finding.times, 1),
    }
    if finding.related:
        result["relatedLocations"] = [_location(place) | {"id": number} for number, place in enumerate(finding.related, 1)]
    if finding.suppressed:
        kind = "inSource" if finding.suppressed == "comment" else "external"
        result["suppressions"] = [{"kind": kind, "justification": finding.reason or ("in the baseline" if kind == "external" else "a comment says so")}]
    return result


def _named(name: str, text: str) -> str:
    return f"{name}: {text}" if text else ""


def _location(place: Place) -> dict[str, Any]:
    path = PurePath(place.file)
    artifact = {"uri": path.as_uri()} if path.is_absolute() else {"uri": quote(place.file), "uriBaseId": "%SRCROOT%"}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if place.line > 0:
        physical["region"] = {"startLine": place.line, "snippet": {"text": place.code}}
    location: dict[str, Any] = {"physicalLocation": physical}
    if place.function and place.function != "<module>":
        location["logicalLocations"] = [{"name": place.function, "kind": "function"}]
    return location
