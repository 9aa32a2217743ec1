"""Every script of the corpus gives exactly the findings that its comments expect; a good one gives none."""

from pathlib import Path

import pytest

from inputgrad.audit.finding import SEVERITIES
from inputgrad.audit.rule_registry import RULES
from tests.audit import harness

ALL = [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in harness.scripts()]


@pytest.mark.parametrize("path", ALL)
def test_exactly_the_expected_findings(path: Path) -> None:
    outcome = harness.run(path)
    said = "\n".join(f"{item.site.shown}  {item.code} {item.severity}  {item.message}" for item in outcome.findings)
    assert not outcome.unexpected, f"false: {outcome.unexpected}\n{said}"
    assert not outcome.missed, f"missed: {outcome.missed}\n{said}"
    assert outcome.raised == harness.raises(path)


@pytest.mark.parametrize("path", ALL)
def test_form(path: Path) -> None:
    wanted = harness.expected(path)
    assert harness.docstring(path), "the first line says what the script is"
    assert "Thread: " in harness.docstring(path), "a line `Thread: owner/repo#n` names the origin"
    assert all(code in RULES and severity in SEVERITIES for code, severity, _ in wanted)
    if path.parent.name == "good":
        assert not wanted
        assert harness.raises(path) is None
    else:
        assert path.name[:5] in {code for code, _, _ in wanted}, "a bad script expects the rule that its name begins with"
