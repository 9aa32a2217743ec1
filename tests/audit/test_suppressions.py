"""Comments that ignore, and the baseline."""

import json
from pathlib import Path

import pytest

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.suppressions import Baseline, BaselineError, IgnoreComments, comments, write_baseline


def finding(path: Path, line: int, code: str = "IG101") -> Finding:
    return Finding(code, "error", Site(str(path), line), "wrong")


@pytest.fixture
def file(tmp_path):
    """A file of its own for each text: lines are kept by name."""

    def made(text: str, name: str = "train.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return made


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("g = f(x)  # inputgrad: ignore[IG101] a constant on purpose\n", 1),
        ("# inputgrad: ignore[IG101] a constant on purpose\ng = f(x)\n", 2),
        ("# inputgrad: ignore[IG101]: a constant on purpose\n# more words\n\ng = f(x)\n", 4),
        ("g = f(\n    x,\n)  # noqa: E1  # inputgrad: ignore[IG101] -- a constant on purpose\n", 1),
        ("g = f(\n    # inputgrad: ignore[IG101] a constant on purpose\n    x,\n)\n", 3),
        ("if x:\n    # inputgrad: ignore[IG201, IG101] a constant on purpose\n    g = f(x)\n", 3),
        ("with f(  # inputgrad: ignore[IG101] a constant on purpose\n    x\n):\n    pass\n", 2),
        ("g = f(x)  # inputgrad: ignore a constant on purpose\n", 1),
    ],
)
def test_a_comment_speaks_for_its_statement(file, text, line):
    path = file(text)
    ignores = IgnoreComments([str(path)])
    taken = ignores.take(finding(path, line))
    assert taken is not None
    assert taken.reason == "a constant on purpose"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("g = f(x)  # inputgrad: ignore[IG102]\n", 1),
        ("g = f(x)  # inputgrad: ignore[IG101]\nh = f(x)\n", 2),
        ("# inputgrad: ignore[IG101]\ng = f(x)\nh = f(x)\n", 3),
        ('s = "# inputgrad: ignore[IG101]"; g = f(x)\n', 1),
        ("for x in y:  # inputgrad: ignore[IG101]\n    g = f(x)\n", 2),
        ("g = f(x)  # inputgrad: ignored\n", 1),
        ("g = (  # inputgrad: ignore[IG101]\n", 1),
    ],
)
def test_and_for_nothing_else(file, text, line):
    path = file(text)
    assert IgnoreComments([str(path)]).take(finding(path, line)) is None


def test_what_ignores_nothing_is_known(file):
    path = file("a = 1  # inputgrad: ignore[IG101, IG301]\nb = 2  # inputgrad: ignore\nc = 3  # inputgrad: ignore\n")
    ignores = IgnoreComments([str(path)])
    ignores.take(finding(path, 1))
    ignores.take(finding(path, 3))
    assert [(ignore.line, codes) for ignore, codes in ignores.idle()] == [(1, ("IG301",)), (2, ())]
    assert ignores.idle(left_out=["IG301"]) == []


def test_a_file_that_is_gone_has_no_comments(tmp_path):
    assert comments(str(tmp_path / "none.py")) == []


def test_the_baseline_knows_a_line_by_what_it_says(file, tmp_path):
    path = file("g = f(x)\nh = 1\ng = f(x)\n")
    write_baseline(tmp_path / "known.json", [finding(path, 1), finding(path, 3)])
    moved = file("\n\n   g  =  f(x)\n", name="moved.py")
    data = json.loads((tmp_path / "known.json").read_text())
    assert data["findings"] == [{"code": "IG101", "file": "train.py", "line": "g = f(x)", "count": 2}]
    baseline = Baseline.read(tmp_path / "known.json")
    assert not baseline.take(finding(moved, 3))
    assert not baseline.take(finding(path, 2))
    assert not baseline.take(finding(path, 1, "IG102"))
    assert [baseline.take(finding(path, 1)) for _ in range(3)] == [True, True, False]
    assert baseline.stale == 0


def test_lines_may_move(file, tmp_path):
    path = file("g = f(x)\n", name="before.py")
    write_baseline(tmp_path / "known.json", [finding(path, 1)])
    text = (tmp_path / "known.json").read_text().replace("before.py", "after.py")
    (tmp_path / "known.json").write_text(text)
    moved = file("import y\n\ng = f(x)\n", name="after.py")
    baseline = Baseline.read(tmp_path / "known.json")
    assert baseline.stale == 1
    assert baseline.take(finding(moved, 3))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is not a baseline"),
        ("{", "is not a baseline"),
        ("[]", "is not a baseline"),
        ('{"version": 9, "findings": []}', "version 9"),
        ('{"version": 1}', "findings"),
    ],
)
def test_what_is_no_baseline_is_told(tmp_path, text, says):
    path = tmp_path / "known.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BaselineError, match=says) as told:
        Baseline.read(path)
    assert "--write-baseline" in str(told.value)


def test_a_comment_that_names_the_code_speaks_for_the_terms_line_too(file):
    path = file("g = 1\nloss = g  # inputgrad: ignore[IG101] a constant\nother = g  # inputgrad: ignore")
    gradient, term = Site(str(path), 1), Site(str(path), 2)
    assert IgnoreComments([str(path)]).take(Finding("IG101", "error", gradient, "", related=(term,))) is not None
    assert IgnoreComments([str(path)]).take(Finding("IG102", "error", gradient, "", related=(term,))) is None
    assert IgnoreComments([str(path)]).take(Finding("IG101", "error", gradient, "", related=(Site(str(path), 3),))) is None
