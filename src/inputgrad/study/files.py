"""Data files of the user's own: CSV tables and NPZ archives. Every complaint names the file, the column or key, what was found and what to do.

Knows files and numpy; splitting and scaling are `inputgrad.study.data`'s.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inputgrad.errors import nearest
from inputgrad.study import reading, tables
from inputgrad.study.data import Data, Task, split
from inputgrad.study.problems import DataError
from inputgrad.study.writing import why

BYTE = 255
_REAL = "iuf"
"""numpy's kinds of real numbers; a span of time counts as one of them elsewhere."""
MOST_CLASSES = 20
"""Different whole numbers that are taken for classes where the config does not say."""


def read_csv(path: str, target: str, task: Task | None, held_out: float, split_seed: int) -> Data:
    """A table with a header line: one column is the target, every other a feature (a number in every line). Standardised.

    task: None to guess it by the target.
    """
    table = tables.read(path, target)
    task = task or _guessed(path, target, [cell.strip() for cell in table.target])
    if task == "regression":
        labels = np.array([tables.number(path, line, target, cell) for line, cell in zip(table.lines, table.target, strict=True)])
        return split(Path(path).name, task, table.inputs, labels, held_out, split_seed, (), columns=table.names)
    cells = [cell.strip() for cell in table.target]
    _check_classes(path, target, cells, table.lines)
    numbers, classes = _classes(path, target, np.array(cells))
    return split(Path(path).name, task, table.inputs, numbers, held_out, split_seed, classes, columns=table.names)


def _check_classes(path: str, target: str, cells: Sequence[str], lines: np.ndarray) -> None:
    """Raise `DataError` where a cell is empty, and where one number is written in two ways, which would be two classes."""
    first: dict[str, int] = {}
    for line, cell in zip(lines, cells, strict=True):
        first.setdefault(cell, line)
    written: dict[float, str] = {}
    for cell, line in first.items():
        if not cell:
            raise DataError(f"{path} line {line}, column {target!r}: found an empty cell, expected a class: fill or drop what is missing")
        value = _as_number(cell)
        if value is not None and (other := written.setdefault(value, cell)) != cell:
            raise DataError(f"{path} line {line}, column {target!r}: found {cell!r}, and {other!r} above, the same number as another class: write them alike")


def read_npz(path: str, inputs: str, target: str, task: Task | None, held_out: float, split_seed: int) -> Data:
    """Arrays of an archive: inputs ``[N, *input]`` (images ``[N, H, W]`` become ``[N, 1, H, W]``), target ``[N]``.

    Bytes are divided by 255; tables ``[N, D]`` are standardised; everything else is taken as it is.
    """
    x, y = _arrays(path, inputs, target)
    if x.dtype.kind not in _REAL:
        raise DataError(f"{path}: inputs under {inputs!r} are {x.dtype}, expected numbers")
    if x.ndim < 2 or y.shape != x.shape[:1]:
        raise DataError(f"{path}: {inputs!r} has shape {list(x.shape)} and {target!r} {list(y.shape)}; expected inputs [N, ...] and one target per sample, [N]")
    if not x.size:
        raise DataError(f"{path}: {inputs!r} has shape {list(x.shape)}, which holds no number")
    scale = None if x.ndim == 2 else "as in the file"
    if x.dtype == np.uint8:
        x, scale = x / BYTE, "scaled to 0..1"
    bad = int(np.count_nonzero(~np.isfinite(_as_float(x))))
    if bad:
        raise DataError(f"{path}: {inputs!r} has {bad} of {x.size} values that are NaN or infinite: clean or fill them")
    x = x[:, None] if x.ndim == 3 else x
    x = _as_float(x) if x.dtype.itemsize > np.dtype(float).itemsize else x  # torch has no longer numbers
    task = task or _guessed(path, target, y.tolist())
    if task == "regression":
        return split(Path(path).name, task, x, _wanted(path, target, y), held_out, split_seed, (), scale=scale)
    numbers, classes = _classes(path, target, y)
    return split(Path(path).name, task, x, numbers, held_out, split_seed, classes, scale=scale)


def _guessed(path: str, target: str, values: list[Any]) -> Task:
    """Words, and whole numbers of which each stands there several times, are classes; other numbers are wanted values. Said, for it is a guess."""
    counts = Counter(values)
    numbers = [number for number in map(_as_number, counts) if number is not None]
    whole = len(numbers) == len(counts) and all(number.is_integer() for number in numbers)
    classes = not numbers or (whole and len(counts) <= MOST_CLASSES and min(counts.values()) > 1)
    task: Task = "classification" if classes else "regression"
    found = f"{len(counts)} different {'words or whole numbers' if classes else 'numbers'} in {target!r}"
    other = "regression" if classes else "classification"
    reading.tell(f"  {Path(path).name}: task {task} is a guess ({found}); say `task: {task}` or `task: {other}`")
    return task


def _as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _arrays(path: str, inputs: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        reading.check_ordinary(path)
        with Path(path).open("rb") as file:  # numpy leaves a broken archive open
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path}: one array (numpy.save), expected an archive of two (numpy.savez)")
            for key in (inputs, target):
                if key not in archive:
                    raise DataError(f"{path}: there is no array {key!r}; {nearest(key, archive.files)}; name them with inputs= and target=")
            found = (archive[inputs], archive[target])
    except FileNotFoundError as error:
        raise DataError(tables.missing(path)) from error
    except DataError:
        raise
    except Exception as error:  # truncated, encrypted, of Python objects, compressed in another way, more than memory holds: numpy and zipfile raise many kinds
        raise DataError(f"{path}: cannot be read as an NPZ archive of plain arrays (numpy.savez): {why(error)}") from error
    for key, array in zip((inputs, target), found, strict=True):
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: {key!r} is not a numpy array; write the archive with numpy.savez")
    return found


def _classes(path: str, target: str, labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers from 0, and the classes' names in order."""
    if np.issubdtype(labels.dtype, np.complexfloating):
        raise DataError(f"{path}: the target {target!r} holds complex numbers, expected classes")
    if np.issubdtype(labels.dtype, np.floating) and not np.array_equal(labels, np.round(labels)):
        fraction = labels[labels != np.round(labels)][0]
        raise DataError(f"{path}: the target {target!r} holds fractions such as {fraction:g}: task classification expects classes, or set task: regression")
    names, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError(f"{path}: the target {target!r} has {len(names)} class, expected at least two")
    if counts.min() < 2:
        rare = str(names[counts.argmin()])
        raise DataError(f"{path}: class {rare!r} of the target {target!r} has one sample; expected two or more a class (or task: regression)")
    return numbers.reshape(-1), tuple(map(str, names))


def _wanted(path: str, target: str, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind not in _REAL or not np.isfinite(_as_float(y)).all():
        raise DataError(f"{path}: the target {target!r} ({y.dtype}) must hold finite numbers for task regression")
    return _as_float(y)


def _as_float(numbers: Any) -> Any:
    """The numbers in 64 bits. One that is too large becomes infinite, without numpy's warning: the caller reports infinite numbers."""
    with np.errstate(over="ignore"):
        return numbers.astype(float)
