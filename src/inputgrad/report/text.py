"""The comparison of runs as plain text for a terminal.

A pure function of records: no colours, no terminal is asked. Knows neither HTML nor drawing. Control characters in users' names are made harmless.
"""

import itertools
import unicodedata
from collections.abc import Sequence

from inputgrad.report.compare import Column, comparable, extremes, headline
from inputgrad.report.record import RunRecord
from inputgrad.report.sentences import sentences
from inputgrad.report.visible import visible

WIDTH = 120
_NAME, _LEAST_LOSS = 24, 20


def table(records: Sequence[RunRecord]) -> str:
    """The runs in aligned columns, at most 120 wide, with what the figures say below: one table for each task and data.

    The best value of a column is starred. Raises `ValueError` without a record.
    """
    if not records:
        raise ValueError("records: a report needs at least one finished run, got none")
    return "\n\n".join(_group(group) for group in comparable(records))


def _group(records: Sequence[RunRecord]) -> str:
    figures = _figures(headline(records))
    room = WIDTH - sum(2 + _width(block[0]) for block in figures)
    names = _aligned(["", "run", *(_cut(record.name, min(room, _NAME)) for record in records)])
    room -= _width(names[0]) + 2
    losses = [_aligned(["", "loss", *(_cut(record.loss, room) for record in records)])] if room >= _LEAST_LOSS else []
    lines = ["  ".join(cells).rstrip() for cells in zip(names, *losses, *figures, strict=True)]
    lines.insert(2, "─" * max(_width(line) for line in lines))
    return "\n".join([_cut(f"{records[0].data}, {records[0].task}", WIDTH), *lines, *_notes(records, listed=not losses)])


def _figures(columns: Sequence[Column]) -> list[list[str]]:
    """One block per group of columns: its name over the whole block, then the headings and the cells."""
    blocks = []
    for name, group in itertools.groupby(columns, key=lambda column: column.group):
        aligned = [_aligned([column.heading, *_starred(column)], right=True) for column in group]
        rows = ["  ".join(cells) for cells in zip(*aligned, strict=True)]
        blocks.append(_aligned([name, *rows], right=True))
    return blocks


def _notes(records: Sequence[RunRecord], listed: bool) -> list[str]:
    """What stands below the table: the losses where no column had room for them, the attacks' names, the sentences."""
    losses = [f"{_cut(record.name, _NAME)}: {record.loss}" for record in records] if listed else []
    notes = [*losses, *(f"{word}: {name}" for word, name in extremes(records)), *sentences(records)]
    return ["", *(line for note in notes for line in _wrapped(note))] if notes else []


def _starred(column: Column) -> list[str]:
    return [cell + ("*" if best else " ") for cell, best in zip(column.cells, column.best, strict=True)]


def _width(text: str) -> int:
    """Cells that a terminal needs: two for wide East Asian characters, none for combining ones."""
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _harmless(text: str) -> str:
    """One line without escape sequences: whitespace becomes a space, what steers a terminal a sign."""
    return visible(" ".join(text.split()))


def _cut(text: str, width: int) -> str:
    text = _harmless(text)
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _aligned(cells: Sequence[str], right: bool = False) -> list[str]:
    width = max(_width(cell) for cell in cells)
    padding = [" " * (width - _width(cell)) for cell in cells]
    return [blank + cell if right else cell + blank for cell, blank in zip(cells, padding, strict=True)]


def _wrapped(text: str) -> list[str]:
    """Lines of at most `WIDTH` cells, broken at spaces where there are any."""
    lines, line = [], ""
    for word in _harmless(text).split(" "):
        if line and _width(line) + 1 + _width(word) > WIDTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
        while _width(line) > WIDTH:
            end = next(index for index in range(len(line)) if _width(line[: index + 1]) > WIDTH)
            lines.append(line[:end])
            line = line[end:]
    return [*lines, line]
