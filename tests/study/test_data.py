"""Data sets: shapes, scales, splits, and what is said of a file that cannot be used."""

import re
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from inputgrad.study import reading, tables
from inputgrad.study.data import breast_cancer, diabetes, digits
from inputgrad.study.files import read_csv, read_npz
from inputgrad.study.problems import DataError


def test_digits():
    data = digits(0.3, 0)
    assert (data.input_shape, data.output_size, data.bounds, data.is_image) == ((1, 8, 8), 10, (0.0, 1.0), True)
    assert (len(data.train_inputs), len(data.test_inputs)) == (1257, 540)
    assert (data.train_inputs.min(), data.train_inputs.max()) == (0, 1)
    shares = [part.bincount(minlength=10) / len(part) for part in (data.train_labels, data.test_labels)]
    assert torch.allclose(*shares, atol=0.01)


def test_the_split_follows_its_seed():
    first, again, other = digits(0.3, 0), digits(0.3, 0), digits(0.3, 1)
    assert torch.equal(first.test_inputs, again.test_inputs)
    assert not torch.equal(first.test_inputs, other.test_inputs)


def test_tables_are_standardised_by_the_training_part():
    data = breast_cancer(0.3, 0)
    assert data.train_inputs.mean(0).abs().max() < 1e-5
    assert (data.train_inputs.std(0, correction=0) - 1).abs().max() < 1e-5
    assert data.test_inputs.mean(0).abs().max() > 1e-3
    assert diabetes(0.3, 0).train_labels.mean().abs() < 1e-5


@pytest.fixture
def table(tmp_path):
    def written(text: str) -> str:
        path = tmp_path / "t.csv"
        path.write_text(text)
        return str(path)

    return written


def test_csv_of_classes(table):
    path = table("a,b,kind\n" + "".join(f"{i},{i * i},{'even' if i % 2 == 0 else 'odd'}\n" for i in range(20)))
    data = read_csv(path, "kind", "classification", 0.3, 0)
    assert (data.name, data.classes, data.input_shape) == ("t.csv", ("even", "odd"), (2,))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "there is no column 'kind', which the config names as target"),
        ("a,kinds\n1,2\n", "did you mean 'kinds'?"),
        ("a,kind\n1,x\n2,y,z\n", "line 3: 3 values, expected 2 as in the header"),
        ("a,kind\n1,x\none,y\n", "line 3, column 'a': found 'one', expected a finite number"),
        ("a,kind\n1,x\n,y\n", "line 3, column 'a': found an empty cell"),
        ("a,kind\n", "no lines of data"),
        ("a,a,kind\n1,2,3\n", "the column names 'a' stand more than once"),
        ("kind\n1\n", "there is no column but the target"),
        ("a,kind\n1,x\n2,x\n", "has 1 class, expected at least two"),
        ("a,kind\n1,x\n2,x\n3,y\n", "class 'y' of the target 'kind' has one sample"),
    ],
)
def test_wrong_csv(text, told, table):
    with pytest.raises(DataError, match=told.replace("?", r"\?")) as caught:
        read_csv(table(text), "kind", "classification", 0.3, 0)
    assert "t.csv" in str(caught.value)


def test_csv_of_numbers(table):
    data = read_csv(table("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(10))), "b", "regression", 0.3, 0)
    assert (data.task, data.output_size, data.classes, data.train_labels.dtype) == ("regression", 1, (), torch.float32)


def test_columns_are_looked_up_once(table):
    """A search by name for each cell made twenty lines of 20,000 columns take 87 s."""
    columns, rows, calls = 2000, 20, [0]
    path = table("\n".join([",".join(f"g{i}" for i in range(columns)) + ",kind", *[",".join(["0.5"] * columns) + f",{i % 2}" for i in range(rows)]]))

    def count(frame, event, argument):
        calls[0] += event in ("call", "c_call") and frame.f_globals["__name__"].startswith("inputgrad.study")

    sys.setprofile(count)
    try:
        data = read_csv(path, "kind", "classification", 0.3, 0)
    finally:
        sys.setprofile(None)
    assert data.input_shape == (columns,)
    assert calls[0] < 40 * rows + 3 * columns


def test_a_table_takes_little_more_than_its_numbers(table):
    rows, columns = 8000, 20
    path = table("\n".join([",".join(f"g{i}" for i in range(columns)) + ",kind", *[",".join(["0.123456789"] * columns) + ",1" for _ in range(rows)]]))
    tracemalloc.start()
    tables.read(path, "kind")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 8 * rows * (columns + 1)


def test_a_long_read_is_told(table, monkeypatch):
    monkeypatch.setattr(reading, "SECONDS", 0)
    told = []
    with reading.told_to(told.append):
        read_csv(table("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(600))), "b", "regression", 0.3, 0)
    assert len(told) == 2
    assert re.fullmatch(r"  reading t\.csv: \d+% of 0 MiB, 512 lines, 0 s", told[-1])


@pytest.mark.parametrize("word", ["nan", "-inf", "1e999"])
def test_words_that_python_takes_for_numbers(word, table):
    text = "a,b\n" + "".join(f"{i},{i}\n" for i in range(2000)) + f"{word},1\n"
    with pytest.raises(DataError, match="line 2002, column 'a': found"):
        read_csv(table(text), "b", "regression", 0.3, 0)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 10, "classification"),
        ([0, 1, 2, 3] * 5, "classification"),
        (["0.0", "1.0"] * 10, "classification"),
        ([0.5, 1.5] * 10, "regression"),
        (range(20), "regression"),
        (list(range(25)) * 2, "regression"),
    ],
)
def test_a_task_that_is_not_said_is_guessed_and_told(values, task, table):
    path, told = table("a,b\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))), []
    with reading.told_to(told.append):
        data = read_csv(path, "b", None, 0.3, 0)
    assert (data.task, data.columns) == (task, ("a",))
    assert len(told) == 1
    assert f"t.csv: task {task} is a guess (" in told[0]
    assert "say `task: classification`" in told[0] or "or `task: classification`" in told[0]


def test_columns_by_name(table, config_of):
    """Also where the target stands between them, which has no number."""
    path = table("a,kind,b,c\n" + "".join(f"{i},{i % 2},{i},{i}\n" for i in range(20)))
    data = read_csv(path, "kind", None, 0.3, 0)
    terms = {"monotone": {"features": {"c": -1, "a": 1}}, "certified_monotone": {"features": {"b": 1}}, "convex": {"features": {1: 1}}}
    monotone, certified, convex = (term.make(data) for term in config_of(loss={"base": "mse", "terms": terms}).loss.terms)
    assert (monotone.term.features, certified.term.features, convex.term.features) == ({2: -1, 0: 1}, {1: 1}, {1: 1})
    (wrong,) = config_of(loss={"base": "mse", "terms": {"monotone": {"features": {"cc": 1}}}}).loss.terms
    with pytest.raises(ValueError, match="there is no column 'cc'; did you mean 'c'"):
        wrong.make(data)


def test_a_missing_file_names_the_nearest(table, tmp_path):
    table("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"there is no such file.*did you mean 't\.csv'"):
        read_csv(str(tmp_path / "tt.csv"), "b", "regression", 0.3, 0)


def test_npz_images_of_bytes(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.full((20, 4, 4), 255, np.uint8), y=np.arange(20) % 2)
    data = read_npz(str(path), "x", "y", "classification", 0.3, 0)
    assert (data.input_shape, data.bounds, float(data.train_inputs.max())) == ((1, 4, 4), (0.0, 1.0), 1.0)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.zeros((8, 2))}, "there is no array 'y'; Known: 'x'"),
        ({"x": np.zeros((8, 2)), "y": np.zeros(7)}, r"'x' has shape \[8, 2\] and 'y' \[7\]"),
        ({"x": np.full((8, 2), np.nan), "y": np.arange(8) % 2}, "16 of 16 values that are NaN"),
        ({"x": np.zeros((8, 2)), "y": np.arange(8) / 3}, "holds fractions such as 0.333333"),
        ({"x": np.array([["a", "b"]] * 8), "y": np.arange(8) % 2}, "expected numbers"),
    ],
)
def test_wrong_npz(arrays, told, tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=told):
        read_npz(str(path), "x", "y", "classification", 0.3, 0)


def test_no_npz_at_all(tmp_path):
    path = tmp_path / "d.npz"
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="cannot be read as an NPZ archive"):
        read_npz(str(path), "x", "y", "classification", 0.3, 0)
