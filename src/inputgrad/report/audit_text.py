"""An audit as text for a terminal, at most as wide as it is finding. A pure function of the record: pieces of text, each with the style it may be shown in.

Knows no terminal and no colours. Control characters in users' code are made harmless.
"""

import textwrap
from collections.abc import Iterator

from inputgrad.report.audit_record import AuditRecord, ReportedFinding, closing, hint
from inputgrad.report.visible import visible

Piece = tuple[str, str]
"""A style ("error", "warning", "note", "place", "code", "quiet" or "") and text."""
NARROW = 38
"""The longest head that a message may stand beside; a longer one has its line to itself."""


def render(record: AuditRecord, width: int = 80, report: str = "") -> str:
    """The whole text. report: where the longer report lies."""
    return "".join(text for _, text in pieces(record, width, report))


def pieces(record: AuditRecord, width: int = 80, report: str = "") -> Iterator[Piece]:
    """Findings, notes, and the closing line, which always says how many steps were seen."""
    shown: list[ReportedFinding] = []
    for finding in record.standing:
        yield from _finding(finding, width, next((other.code for other in shown if _is_same_change(other, finding)), ""))
        if is_diff(finding.write):
            shown.append(finding)
    for note in record.notes:
        yield "quiet", _wrapped(f"note: {note}", width, "      ")
    if record.standing or record.notes:
        yield "", "\n"
    advice = hint(record)
    if advice:
        yield "quiet", _wrapped(advice, width, "  ")
    yield "", _wrapped(closing(record) + (f"; report: {report}" if report else ""), width, "  ")


def _finding(finding: ReportedFinding, width: int, above: str) -> Iterator[Piece]:
    """One finding. above: the code of the finding that has the same change, which need not be shown twice."""
    head = (("place", f"{_harmless(finding.place.shown)}  "), ("code", f"{finding.code}  "), (finding.severity, finding.severity))
    length = sum(len(text) for _, text in head)
    indent = length + 8 - len(finding.severity) if length <= NARROW else 8
    yield from head
    yield "", " " * (indent - length) if length <= NARROW else "\n" + " " * indent
    yield "", _wrapped(finding.message, width, " " * indent, begun=True)
    if finding.measured:
        yield "", _labelled("measured:", finding.measured, width, indent)
    if above:
        yield "code", _labelled("write:   ", f"the change shown for {above} above, which mends both", width, indent)
    elif is_diff(finding.write):
        yield "code", " " * min(indent, 8) + "write:\n" + "".join(_code(line, width) for line in finding.write.splitlines())
    elif finding.write:
        yield "code", _labelled("write:   ", finding.write, width, indent)


def _is_same_change(one: ReportedFinding, other: ReportedFinding) -> bool:
    """Whether two findings show one change, and not two that read alike: their lines are no further apart than the change is long."""
    here, there = one.place, other.place
    return one.write == other.write and here.file == there.file and abs(here.line - there.line) <= len(one.write.splitlines())


def is_diff(text: str) -> bool:
    """Whether it is the changed lines of a script, not words."""
    return any(line.startswith(("- ", "+ ")) for line in text.splitlines())


def _code(line: str, width: int) -> str:
    """A line of a diff, broken further right."""
    return _wrapped(_harmless(line, spaces=False), width, " " * 18, first=" " * 10)


def _labelled(label: str, text: str, width: int, indent: int) -> str:
    """``label text``, beside the others; what would need many lines there, such as code, begins further left."""
    lines = [_harmless(line, spaces=False) for line in text.splitlines()]
    for margin in (indent, min(indent, 8)):
        inner = " " * (margin + len(label) + 1)
        parts = [_wrapped(line, width, inner + ("    " if _like_code(line) else ""), first=inner) for line in lines]
        if margin == 8 or all(part.count("\n") <= 2 for part in parts):
            break
    return " " * margin + label + " " + "".join(parts)[len(inner) :]


def _like_code(text: str) -> bool:
    return any(sign in text for sign in ("(", "=")) and not text.rstrip().endswith(".")


def _wrapped(text: str, width: int, indent: str, *, first: str = "", begun: bool = False) -> str:
    """Lines broken at spaces. begun: the first line stands on one already."""
    blanks = " " * (len(text) - len(text.lstrip(" ")))
    lines = textwrap.wrap(
        blanks + _harmless(text),
        max(width, 40),
        initial_indent=indent if begun else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return ("\n".join(lines).lstrip() if begun else "\n".join(lines)) + "\n"


def _harmless(text: str, spaces: bool = True) -> str:
    """One line without escape sequences: whitespace becomes a space, what steers a terminal a sign."""
    text = " ".join(text.split()) if spaces else text.replace("\t", "    ")
    return visible(text)
