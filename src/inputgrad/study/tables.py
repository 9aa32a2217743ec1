"""CSV tables as numbers: read once from front to back, eight bytes per cell, every complaint with line and column.

Knows the form of a CSV file; what a column is for is `inputgrad.study.files`'s.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inputgrad.errors import nearest
from inputgrad.study import reading
from inputgrad.study.problems import DataError

BLOCK = 1024
"""Rows that are looked over at once."""

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, eq=False)
class Table:
    """names: of the features; inputs ``[N, D]``; target: the target's cells as they stand in the file; lines ``[N]``: where each row stands."""

    names: list[str]
    inputs: np.ndarray
    target: list[str]
    lines: np.ndarray


def read(path: str, target: str) -> Table:
    """The table in a CSV file with a header line. Raises `DataError` where a feature's cell holds no finite number."""
    try:
        reading.check_ordinary(path)
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            return _rows(path, target, csv.reader(reading.lines(path, file)))
    except FileNotFoundError as error:
        raise DataError(missing(path)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error


def number(path: str, line: int, column: str, cell: str) -> float:
    """The finite number in a cell, or a `DataError` with its place."""
    try:
        value = np.nan if "_" in cell else float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        found = repr(cell) if cell.strip() else "an empty cell"
        raise DataError(f"{path} line {line}, column {column!r}: found {found}, expected a finite number: encode words, fill or drop what is missing")
    return value


def missing(path: str) -> str:
    """What to say where there is no such file: the nearest name in its folder."""
    folder = Path(path).parent
    known = [item.name for item in folder.iterdir() if item.suffix == Path(path).suffix] if folder.is_dir() else []
    return f"{path}: there is no such file; paths are relative to the current directory; {nearest(Path(path).name, known)}"


def _rows(path: str, target: str, reader: "Iterator[list[str]]") -> Table:
    header = [name.strip() for name in next(reader, [])]
    place = _column(path, target, header)
    names = [*header[:place], *header[place + 1 :]]
    numbers, cells, lines = array("d"), list[str](), array("q")
    line = 1
    for row in reader:
        first, line = line + 1, reader.line_num  # type: ignore[attr-defined]  # csv's own reader
        if not row:
            continue
        if len(row) != len(header):
            quote = f", or for a quote that opens in line {first} and does not close" if line > first else ""
            raise DataError(f"{path} line {line}: {len(row)} values, expected {len(header)} as in the header: look for a missing or an extra comma{quote}")
        cells.append(row.pop(place))
        lines.append(line)
        try:
            if "_" in "".join(row):  # Python reads 1_000 as a number
                raise ValueError
            numbers.extend(map(float, row))
        except ValueError:
            for name, cell in zip(names, row, strict=True):
                number(path, line, name, cell)
            raise
    if not cells:
        raise DataError(f"{path}: no lines of data; expected a header line and at least a few lines of numbers")
    found = np.frombuffer(numbers).reshape(len(cells), len(names))
    _all_finite(path, names, found, lines)
    return Table(names, found, cells, np.frombuffer(lines, dtype=np.int64))


def _column(path: str, target: str, header: list[str]) -> int:
    """Where the target stands in a header that can be used."""
    if any("\0" in name for name in header):
        raise DataError(f"{path}: the first line holds NUL bytes: this is no text, or one in UTF-16; save the table as CSV in UTF-8")
    if target not in header and len(header) > 1 and all(map(_is_number, header)):
        raise DataError(f"{path}: the first line holds numbers alone, expected the columns' names, with {target!r} among them: write a header line")
    seen: set[str] = set()
    twice = sorted({name for name in header if name in seen or seen.add(name)})  # type: ignore[func-returns-value]  # add returns None, which is false
    if twice:
        raise DataError(f"{path}: the column names {', '.join(map(repr, twice))} stand more than once: rename them")
    if len(header) == 1 and (other := [name for sign, name in SEPARATORS.items() if sign in header[0]]):
        raise DataError(f"{path}: the columns are separated by {other[0]}; expected commas: write the table anew, with points in its numbers")
    if target not in seen:
        raise DataError(f"{path}: there is no column {target!r}, which the config names as target; {nearest(target, header)}")
    if len(header) < 2:
        raise DataError(f"{path}: there is no column but the target {target!r}; expected at least one feature")
    return header.index(target)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _all_finite(path: str, names: Sequence[str], found: np.ndarray, lines: Sequence[int]) -> None:
    """Words such as "nan" are numbers to Python. Block by block, so that no second table is made."""
    for start in range(0, len(found), BLOCK):
        bad = ~np.isfinite(found[start : start + BLOCK])
        if bad.any():
            row, column = map(int, np.argwhere(bad)[0])
            number(path, lines[start + row], names[column], str(found[start + row, column]))
