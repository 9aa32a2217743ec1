"""What a run shows while it goes: a bar with the parts of the loss on a terminal, a few plain lines elsewhere.

Knows the screen and epochs; trains nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from inputgrad.report.record import Epoch

LINES = 5
"""Plain lines per run, where there is no terminal."""


class Display:
    """Shows the epochs of one run."""

    def epoch(self, epoch: Epoch) -> None:
        raise NotImplementedError


class _Lines(Display):
    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._stride = max(1, -(-total // LINES))

    def epoch(self, epoch: Epoch) -> None:
        if epoch.number % self._stride == 0 or epoch.number == self._total:
            self._console.print(f"  epoch {epoch.number}/{self._total}: {told(epoch)}", highlight=False, soft_wrap=True, markup=False)


class _Bar(Display):
    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, completed=done)

    def epoch(self, epoch: Epoch) -> None:
        self._progress.update(self._task, completed=epoch.number, description=told(epoch))


@contextmanager
def display(console: Console, total: int, done: int) -> Iterator[Display]:
    """A display for ``total`` epochs, of which ``done`` are done."""
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    columns = (
        TextColumn("  {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, total, done)


def told(epoch: Epoch) -> str:
    """The epoch in one line: loss, its parts, and the held-out score."""
    parts = ", ".join(f"{name} {value:.4g}" for name, value in epoch.parts.items())
    return f"loss {epoch.loss:.4g}" + (f" ({parts})" if parts else "") + f", held out {epoch.test_score:.4g}"
