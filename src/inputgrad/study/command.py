"""The training command: check everything, then run what is not finished yet, then one report of all.

Knows the order of things and what is said to the user; every step is another module's.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from inputgrad.report.record import RunRecord
from inputgrad.report.visible import visible
from inputgrad.study import checkpoint, distributed, measures, reading, writing
from inputgrad.study.assembly import Assembly, assemble, try_out
from inputgrad.study.checking import checked, load_code
from inputgrad.study.config import REPORT, Config
from inputgrad.study.data import Data
from inputgrad.study.problems import StudyError
from inputgrad.study.progress import display
from inputgrad.study.rundir import RunDirectory
from inputgrad.study.source import Override
from inputgrad.study.training import Training, score
from inputgrad.study.wording import loss_line

THREADS = torch.get_num_threads()
INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended."""


def train(paths: Sequence[Path], overrides: Sequence[Override], out: Path, *, overwrite: bool, console: Console, code: bool = True) -> int:
    """Train every config, or go on where it was interrupted; write one report. Returns the exit status.

    Nothing is written before every config, its data and its model have been tried out. Where torchrun started several processes they train each run
    together; the first one speaks and writes.
    """
    with distributed.company():
        console.quiet = not distributed.first()
        return _train_all(paths, overrides, out, console, overwrite=overwrite, code=code)


def _train_all(paths: Sequence[Path], overrides: Sequence[Override], out: Path, console: Console, *, overwrite: bool, code: bool) -> int:
    try:
        writing.check_folder(out)
        writing.check_file(out / REPORT)
        pairs = checked(paths, overrides, code=code)
        load_code(pairs)
        found = [config for _, config in pairs]
        with reading.told_to(partial(_say, console)):
            loaded = _data(found)
        _try_out(found, loaded)
        _train_each(found, loaded, out, overwrite, console)
    except StudyError as error:
        if isinstance(error, distributed.OneProcessError) and not distributed.first():
            print(visible(str(error)), file=sys.stderr, flush=True)
        _say(console, str(error), style="red")
        return 1
    except KeyboardInterrupt:
        _say(console, f"\nInterrupted. {_kept(out)}")
        return INTERRUPTED
    except RuntimeError as error:
        if distributed.ranks() == 1 or not distributed.lost(error):
            raise
        _say(console, f"Stopped: another process has ended ({str(error).splitlines()[0]}). {_kept(out)}", style="red")
        return 1
    return 0


def _try_out(found: Sequence[Config], loaded: Sequence[Data]) -> None:
    """One call of everything, before anything is written."""
    for config, data in zip(found, loaded, strict=True):
        torch.set_num_threads(config.threads or THREADS)
        assembly = assemble(config, data)
        try_out(assembly)
        measures.try_out(assembly)


def _train_each(found: Sequence[Config], loaded: Sequence[Data], out: Path, overwrite: bool, console: Console) -> None:
    with ExitStack() as held:
        distributed.told_to_all(lambda: _take_directories(found, out, overwrite, held))
        records = [
            _run(config, data, RunDirectory(out / config.name), f"[{n}/{len(found)}]", console, overwrite=overwrite)
            for n, (config, data) in enumerate(zip(found, loaded, strict=True), 1)
        ]
        distributed.told_to_all(lambda: _publish([record for record in records if record is not None], out, console))
        distributed.leave_together()


def _kept(out: Path) -> str:
    if not out.exists():
        return "Nothing had been written yet."
    return f"Finished runs and the last whole epoch of this one are kept in {out}: run the same command again to resume."


def _data(found: Sequence[Config]) -> list[Data]:
    """The data of each config, the same ones loaded once."""
    loaded: dict[str, Data] = {}
    data = []
    for config in found:
        entry: Any = config.data
        key = entry.model_dump_json()
        if key not in loaded:
            try:
                loaded[key] = entry.make()
            except MemoryError as error:
                raise StudyError(f"{config.name}: the data do not fit into memory ({writing.why(error)})") from error
        data.append(loaded[key])
    return data


def _take_directories(found: Sequence[Config], out: Path, overwrite: bool, held: ExitStack) -> None:
    """Hold every directory that will be written to until the command ends. They are looked at again once they are held."""
    _check_directories(found, out, overwrite)
    for config in found:
        directory = RunDirectory(out / config.name)
        if directory.status(config) != "finished":
            held.enter_context(directory.held())
    _check_directories(found, out, overwrite)


def _check_directories(found: Sequence[Config], out: Path, overwrite: bool) -> None:
    """Raise `StudyError` where a directory holds a run with other settings, unless it may be overwritten."""
    problems = []
    for config in found:
        directory = RunDirectory(out / config.name)
        if not overwrite and directory.status(config) == "changed":
            changes = "\n    ".join(directory.differences(config))
            problems.append(f"{directory.path} holds a run with other settings:\n    {changes}")
    if problems:
        way_out = "Start afresh in its place with --overwrite, or keep it: choose another --out, or another `name:` in the config."
        raise StudyError("\n".join([*problems, way_out]))


def _run(config: Config, data: Data, directory: RunDirectory, position: str, console: Console, *, overwrite: bool) -> RunRecord | None:
    """The record, on the first process."""
    status = distributed.told_to_all(lambda: directory.status(config))
    _say(console, f"{position} {config.name}: {loss_line(config)}", style="bold")
    if status == "finished":
        _say(console, f"  finished before, kept in {directory.path}")
        return distributed.told_to_all(lambda: directory.finished(config))
    torch.set_num_threads(config.threads or THREADS)
    start = time.perf_counter()
    assembly = assemble(config, data)
    before = (score(assembly, data.test_inputs, data.test_labels), measures.gradient_norms(assembly))
    training = Training(assembly)
    if status == "interrupted" and (kept := _restored(training, directory, overwrite)) is not None:
        _say(console, f"  goes on after epoch {len(training.epochs)}{_other_company(kept)}")
    else:
        distributed.told_to_all(lambda: directory.begin(config))
    _train(training, directory, console)
    if not distributed.first():
        return None
    record = measures.measured(assembly, training.epochs, before, _seconds(training, time.perf_counter() - start, status))
    directory.finish(record)
    _say(console, f"  {_result(assembly, record)}")
    return record


def _restored(training: Training, directory: RunDirectory, overwrite: bool) -> dict[str, Any] | None:
    """The checkpoint that the training goes on from; None for a broken one that may be overwritten."""
    try:
        kept = checkpoint.load(directory.checkpoint)
        try:
            training.restore(kept)
        except ValueError as error:
            raise checkpoint.foreign(directory.checkpoint, str(error)) from error
    except StudyError:
        if overwrite:
            return None
        raise
    return kept


def _other_company(kept: dict[str, Any]) -> str:
    before, now = len(kept["random"]), distributed.ranks()
    return "" if before == now else f", on {now} process(es) after {before}: the same batches, other random draws"


def _train(training: Training, directory: RunDirectory, console: Console) -> None:
    """The epochs that are missing, each kept as soon as it is whole."""
    distributed.told_to_all(lambda: directory.write_metrics(training.epochs))
    with display(console, training.assembly.config.epochs, len(training.epochs)) as shown:
        while not training.finished:
            epoch = training.run_epoch()
            state = training.state()
            distributed.told_to_all(partial(_keep, state, training, directory))
            shown.epoch(epoch)


def _keep(state: dict[str, Any], training: Training, directory: RunDirectory) -> None:
    checkpoint.save(state, directory.checkpoint)
    directory.write_metrics(training.epochs)


def _seconds(training: Training, elapsed: float, status: str) -> float:
    """The run's time: as the clock says, or after an interruption what its epochs took at least."""
    return elapsed if status != "interrupted" else max(elapsed, sum(epoch.seconds for epoch in training.epochs))


def _result(assembly: Assembly, record: RunRecord) -> str:
    score_name = "accuracy" if assembly.data.task == "classification" else "mean squared error"
    return f"held-out {score_name} {record.test_score:.4f}, {record.seconds:.1f} s"


def _publish(records: list[RunRecord], out: Path, console: Console) -> None:
    """One table on the screen and one page in ``out``."""
    from inputgrad.report.html import render
    from inputgrad.report.text import table

    report = out / REPORT
    _say(console, f"\n{table(records)}\n")
    writing.sweep(out)
    writing.text(render(records), report)
    _say(console, f"Report: {report}")


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(visible(text), style=style, markup=False, highlight=False, soft_wrap=True)
