"""An audit as ONE HTML page that needs no network: a pure function of the record. All text is escaped by the template, none is trusted."""

from typing import Any

from inputgrad.report import EXTRA
from inputgrad.report.audit_record import AuditRecord, closing, hint, many
from inputgrad.report.visible import seen

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
except ImportError as missing:
    raise ImportError(f"the HTML report needs jinja2, and {missing.name} is not installed: {EXTRA}") from missing

MARK = '<meta name="generator" content="inputgrad audit">'
"""What tells a page of ours from another file of that name."""


def render(record: AuditRecord) -> str:
    """The page; equal records give equal text."""
    environment = Environment(
        loader=PackageLoader("inputgrad.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        finalize=seen,
    )  # fmt: skip
    parts: dict[str, Any] = {"record": record, "closing": closing(record), "hint": hint(record), "counts": [many(n, s) for s, n in record.counts.items()]}
    page = environment.get_template("audit.html.j2").render(**parts)
    return page.lstrip().encode("utf-8", "replace").decode("utf-8")
