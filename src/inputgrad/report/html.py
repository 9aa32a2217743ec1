"""The report as ONE HTML page that needs no network: a pure function of records.

Knows the sections and the template. Knows neither torch nor the study. All text from records is escaped by the template, none is trusted.
"""

from collections.abc import Sequence
from typing import Any

from inputgrad.report import EXTRA
from inputgrad.report.compare import comparable, decimals, duration, extremes, headline
from inputgrad.report.record import RunRecord
from inputgrad.report.sentences import sentences
from inputgrad.report.visible import seen

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from inputgrad.report import sections
    from inputgrad.report.charts import Run
except ImportError as missing:
    raise ImportError(f"the HTML report needs jinja2 and matplotlib, and {missing.name} is not installed: {EXTRA}") from missing


def render(records: Sequence[RunRecord]) -> str:
    """The page that compares ``records``, in their order; equal records give equal text. Raises `ValueError` without a record."""
    if not records:
        raise ValueError("records: a report needs at least one finished run, got none")
    environment = Environment(
        loader=PackageLoader("inputgrad.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        finalize=seen,
    )  # fmt: skip
    environment.filters |= {"decimals": decimals, "duration": duration, "svg": Markup, "spans": _spans}
    groups = [_group(runs) for runs in sections.placed(comparable(records))]
    page = environment.get_template("report.html.j2").render(groups=groups, count=len(records))
    return page.lstrip().encode("utf-8", "replace").decode("utf-8")


def _group(runs: Sequence[Run]) -> dict[str, Any]:
    records = [run.record for run in runs]
    return {
        "runs": runs,
        "data": records[0].data,
        "task": records[0].task,
        "columns": headline(records),
        "attacks": extremes(records),
        "sentences": sentences(records),
        "losses": sections.loss_charts(runs),
        "scores": sections.score_chart(runs),
        "robustness": sections.attack_chart(runs),
        "norms": sections.norm_charts(runs),
        "gradients": sections.gradient_grids(runs),
        "paths": sections.path_grids(runs),
        "differences": sections.differing_settings(runs),
        "settings": [(run, sections.flat(run.record.settings)) for run in runs],
    }


def _spans(columns: Sequence[Any]) -> list[tuple[str, int]]:
    """Neighbouring columns of one group as ``(group, how many)``."""
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1] + 1)
        else:
            spans.append((column.group, 1))
    return spans
