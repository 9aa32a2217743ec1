"""The page of tested versions is made from its record, and the record from what pytest reports."""

import json
from pathlib import Path

import pytest

from tools import versions
from tools.compat import counted
from tools.environments import pins

REPORT = """<testsuites><testsuite>
<testcase classname="tests.core.test_table" name="test_one[a]"/>
<testcase classname="tests.core.test_table" name="test_two"><failure message="no">trace</failure></testcase>
<testcase classname="tests.core.test_table" name="test_two"><error message="no">in the teardown, too</error></testcase>
<testcase classname="tests.joint.test_both" name="test_three"><error message="no">trace</error></testcase>
<testcase classname="tests.joint.test_both" name="test_four"><skipped message="why"/></testcase>
</testsuite></testsuites>"""


def run(torch: str, python: str, passed: int = 1) -> dict:
    return {"torch": torch, "python": python, "date": "2026-01-01", "passed": passed, "failed": 0, "skipped": 0, "failures": []}


def test_the_page_is_the_records() -> None:
    page = versions.PAGE.read_text(encoding="utf-8")
    assert versions.rewritten(page, versions.read()) == page


def test_the_record_is_written_as_the_command_writes_it() -> None:
    record = versions.read()
    assert versions.RECORD.read_text(encoding="utf-8") == json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    assert all(len(entry["failures"]) == entry["failed"] for entry in record["runs"])


def test_a_run_takes_the_place_of_an_earlier_one_on_the_same_versions() -> None:
    record: dict = {"runs": [], "issues": []}
    for entry in (run("2.9.1", "3.11.7"), run("2.10.0+cpu", "3.11.7"), run("2.10.0", "3.13.0"), run("2.10.0", "3.11.9", passed=7)):
        record = versions.entered(record, entry)
    assert [(entry["torch"], entry["python"], entry["passed"]) for entry in record["runs"]] == [
        ("2.10.0", "3.13.0", 1),
        ("2.10.0", "3.11.9", 7),
        ("2.9.1", "3.11.7", 1),
    ]


def test_a_failed_test_is_named_on_the_page() -> None:
    failed = {**run("2.9.1", "3.11.7"), "failed": 1, "failures": ["tests/core/test_table.py::test_two"]}
    page = versions.rewritten(versions.PAGE.read_text(encoding="utf-8"), {"runs": [failed], "issues": [{"torch": "2.9", "issue": "an issue of its own"}]})
    assert "| 2.9.1 | 3.11.7 | 1 | 1 | 0 | 2026-01-01 |" in page
    assert "- torch 2.9.1, Python 3.11.7: `tests/core/test_table.py::test_two`" in page
    assert "| 2.9 | an issue of its own |" in page


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="once, found 0"):
        versions.rewritten("# Versions\n", {"runs": [], "issues": []})


def test_what_pytest_reports_is_counted_once_per_test(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    assert counted(tmp_path / "report.xml") == {
        "passed": 1,
        "failed": 2,
        "skipped": 1,
        "failures": ["tests/core/test_table.py::test_two", "tests/joint/test_both.py::test_three"],
    }


def test_the_tools_of_the_tests_are_those_of_the_constraints() -> None:
    assert [pin.split("==")[0] for pin in pins("pytest", "numpy")] == ["numpy", "pytest"]
