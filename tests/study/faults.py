"""``python -m tests.study.faults``: tries every mistake and every fault of the training command, and writes the page docs/faults.md."""

import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inputgrad.report.visible import visible
from tests.study.mistakes import tried
from tests.study.test_faults import prepare
from tests.study.test_mistakes import MISTAKES
from tests.study.write_faults import FAULTS, survived

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
TEXT = """\
# What was tried to break it

Mistakes of users and faults of the machine, put in on purpose, and what the [training command](training.md) did. This page is written by `python -m
tests.study.faults`; `make test` tries a part of it, `make study` all.

## Mistakes

A mistake counts as told if the command ends with one clear error that names the file, key or option and what to write instead: no traceback, no
warning, nothing written.

| mistakes in | tried | told | examples |
| --- | --- | --- | --- |
{mistakes}

## Faults while a run is written

A training of two epochs beside a finished run is {operations} file operations. Each of them failed once in each way, then the same command was given
again. A fault counts as survived if every epoch and every run that had been kept before it is still there and whole, and the second command ends with
the same model and the same record as a run without a fault, and with a report.

| fault, from one operation on | tried | survived |
| --- | --- | --- |
{faults}

A full disk fails at every later write, too; a read-only folder at every later operation; after SIGKILL no operation takes place. What a killed
command leaves beside a run's files is removed by the next one. Beside `report.html` it is removed after an hour, since another command may be writing
there.

## Two commands on one folder

A run's directory is held by one process; a second command ends with the first one's process, host and command line, which stand in `writer.json` while
it runs. The lock is the system's, on the file `.lock` in that directory (package filelock), so it ends with its process, also by SIGKILL. On file systems
without locks, a file stands for it that counts while its process lives. Commands with other configs may share one `--out`.
"""


@contextmanager
def _folder() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def mistakes() -> list[str]:
    """A row a kind."""
    count, told, examples = Counter[str](), Counter[str](), dict[str, list[str]]()
    for mistake in MISTAKES:
        with _folder() as folder:
            wrong = tried(mistake, folder)
        count[mistake.kind] += 1
        told[mistake.kind] += not wrong
        short = mistake.name if len(mistake.name) < 40 else mistake.name[:38] + "…"
        examples.setdefault(mistake.kind, []).append(visible(short))
        if wrong:
            print(mistake.kind, mistake.name, wrong, file=sys.stderr)
    chosen = {kind: [names[at] for at in (0, len(names) // 3, 2 * len(names) // 3)] for kind, names in examples.items()}
    rows = [f"| {kind} | {count[kind]} | {told[kind]} | {', '.join(f'`{name}`' for name in chosen[kind])} |" for kind in count]
    return [*rows, f"| all | {count.total()} | {told.total()} | |"]


def faults() -> tuple[int, list[str]]:
    """The number of operations, and a row a kind of fault."""
    with _folder() as folder:
        configs, before, whole, disk = prepare(folder)
        found = Counter[str]()
        for fault in FAULTS:
            for at in range(disk.count):
                with tempfile.TemporaryDirectory() as name:
                    wrong = survived(configs, before, whole, Path(name), at, fault)
                found[fault] += not wrong
                if wrong:
                    print(fault, disk.done[at], wrong, file=sys.stderr)
    return disk.count, [f"| {fault} | {disk.count} | {found[fault]} |" for fault in FAULTS]


def main() -> None:
    warnings.simplefilter("ignore")
    rows = mistakes()
    operations, table = faults()
    PAGE.write_text(TEXT.format(mistakes="\n".join(rows), operations=operations, faults="\n".join(table)), encoding="utf-8")


if __name__ == "__main__":
    main()
