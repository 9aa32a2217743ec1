"""What README and the page of the audit show as its output is what it prints."""

from pathlib import Path

from tests.audit.audit_runs import Here

ROOT = Path(__file__).parents[2]
SCRIPT = "examples/before_popular_recipe.py"


def test_the_output_shown_is_the_output(monkeypatch, capfd):
    done = Here(monkeypatch, capfd, ROOT)(script=SCRIPT, report="")
    assert done.status == 1
    *finding, _, closing = done.err.splitlines(keepends=True)
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/audit.md"))
    assert f"$ inputgrad audit {SCRIPT}\n{''.join(finding)}```" in readme
    assert f"```text\n{''.join(finding)}\n{closing.rstrip()}; report: audit.html\n```" in page
