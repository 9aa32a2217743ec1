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
# Fault tests

What happens when you make a mistake with the [training command](training.md), or when the disk is full, a folder is read-only or the process is killed.
`python -m tests.study.faults` tries all of these and writes this page; `make test` tries some of them, `make study` all.

## Mistakes

A mistake counts as reported if the command ends with one clear error that names the file, key or option and says what to write instead, without a traceback
or a warning, and writes nothing.

| mistakes in | tried | reported | examples |
| --- | --- | --- | --- |
{mistakes}

## Faults while a run is written

A training of two epochs next to a finished run takes {operations} file operations. Each operation failed once in each way; then the same command ran
again. A fault counts as survived if no saved epoch and no earlier run is lost or damaged, and if the second command ends with the same model and the same
record as a run without a fault, and with a report.

| fault, starting at one operation | tried | survived |
| --- | --- | --- |
{faults}

With a full disk every later write fails too; with a read-only folder every later operation; after SIGKILL nothing runs. The next command removes the
temporary files of a killed one. Next to `report.html` it does so after an hour, because another command may still be writing there.

## Two commands on one folder

One process locks a run's directory; a second command ends with an error that names the first one's process, host and command line, which are in
`writer.json` while it runs. The lock is a system lock on the file `.lock` in that directory (package filelock), so it ends with its process, also after
SIGKILL. On file systems without locks, a file stands in for it, which counts while its process lives. Commands with different configs may share one `--out`.
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
    """One row per kind."""
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
    """The number of operations, and one row per kind of fault."""
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
