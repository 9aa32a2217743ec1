"""Text for a terminal that cannot show every letter: mathematical signs are spelled in ASCII there. Knows no report."""

from dataclasses import replace

from inputgrad.report.audit_record import AuditRecord, Place, ReportedFinding

_SPELLED = {
    "‖": "||", "∂": "d", "θ": "theta", "ε": "eps", "σ": "sigma", "λ": "lambda", "Σ": "sum", "√": "sqrt ", "²": "^2", "³": "^3", "·": "*", "×": "x", "÷": "/",
    "−": "-", "–": "-", "—": "-", "→": "->", "…": "...", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "∞": "inf", "½": "1/2", "⟨": "<", "⟩": ">",
    "Δ": "Laplacian ",    "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "�": "?",
}  # fmt: skip


def in_encoding(text: str, encoding: str | None) -> str:
    """The text as a stream of this encoding can show it: as it is where it can, else signs spelled in ASCII and other letters as escapes.

    >>> in_encoding("‖∂term/∂θ‖ = 0", "ascii")
    '||dterm/dtheta|| = 0'
    """
    try:
        text.encode(encoding or "utf-8")
    except LookupError:
        encoding = "ascii"
    except UnicodeEncodeError:
        pass
    else:
        return text
    for sign, spelled in _SPELLED.items():
        text = text.replace(sign, spelled)
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def record_in(record: AuditRecord, encoding: str | None) -> AuditRecord:
    """The record with all that the text shows in letters of this encoding."""
    return replace(
        record,
        raised=in_encoding(record.raised, encoding),
        findings=tuple(_finding(finding, encoding) for finding in record.findings),
        notes=tuple(in_encoding(note, encoding) for note in record.notes),
    )


def _finding(finding: ReportedFinding, encoding: str | None) -> ReportedFinding:
    message, measured, write = (in_encoding(text, encoding) for text in (finding.message, finding.measured, finding.write))
    return replace(finding, message=message, measured=measured, write=write, place=_place(finding.place, encoding))


def _place(place: Place, encoding: str | None) -> Place:
    return replace(place, shown=in_encoding(place.shown, encoding))
