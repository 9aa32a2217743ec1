"""Notebooks under the audit: cells in order, magics left out, lines told by cell."""

import json
from pathlib import Path

import pytest

from inputgrad.audit import notebook
from tests.audit.audit_runs import SCRIPT, Here


@pytest.fixture
def here(monkeypatch, capfd, tmp_path):
    return Here(monkeypatch, capfd, tmp_path)


def written(folder: Path, *sources: str) -> Path:
    cells = [{"cell_type": "markdown", "source": ["# Title"]}]
    cells += [{"cell_type": "code", "source": source.splitlines(keepends=True), "outputs": [], "metadata": {}} for source in sources]
    path = folder / "train.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    return path


def test_cells_run_in_order_and_lines_are_told_by_cell(here, tmp_path):
    head, loop = SCRIPT.strip("\n").split("for step", 1)
    written(tmp_path, "%matplotlib inline\n!pip install something\n" + head, "%%bash\nexit 3", "%%time\nfor step" + loop)
    done = here(script="train.ipynb", report="", steps=2)
    assert done.status == 1, done.err
    line = next(number for number, text in enumerate(("%%time\nfor step" + loop).splitlines(), 1) if "output.sum().backward" in text)
    assert f"train.ipynb, cell 3:{line}" in done.err
    assert "IG101" in done.err
    assert "in 2 steps" in done.err
    assert "step 0" in done.out


def test_a_comment_in_a_cell_ignores(here, tmp_path):
    text = SCRIPT.replace("output.sum().backward(retain_graph=True)", "output.sum().backward(retain_graph=True)  # inputgrad: ignore[IG101] a constant")
    written(tmp_path, text)
    done = here(script="train.ipynb", report="", steps=1, select=("IG101",))
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("x = 1\n%time f()\ny = 2", "x = 1\npass\ny = 2"),
        ("if True:\n    !ls\n    files = !ls", "if True:\n    pass\n    pass"),
        ("torch.nn.Linear?", "pass"),
        (" ! pip install something\n x = 1\ny = 2", "pass\nx = 1\ny = 2"),
        ("a = (5\n     % 3)", "a = (5\n     % 3)"),
        ("%%html\n<b>", ""),
    ],
)
def test_magics_are_left_out(tmp_path, source, python):
    assert list(notebook.cells(written(tmp_path, source))) == [(1, python)]


def test_what_is_no_notebook_is_told_before_anything_runs(here, tmp_path):
    (tmp_path / "train.ipynb").write_text("print('a script')")
    done = here(script="train.ipynb")
    assert done.status == 2
    assert "is not a notebook" in done.err


def test_a_traceback_names_the_cell(here, tmp_path):
    written(tmp_path, "x = 1", "y = 2\nraise KeyError('z')")
    done = here(script="train.ipynb", report="")
    assert done.status == 1
    assert 'train.ipynb, cell 2", line 2' in done.err
    assert "raise KeyError('z')" in done.err
