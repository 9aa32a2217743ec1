"""Progress of reading a long file: how far, how many lines, how fast. Nothing for files that are read at once.

Knows lines and a clock; who listens says so with `told_to`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

SECONDS = 3.0
"""Between two lines about one file, and before the first."""
EVERY = 256
"""Lines between two looks at the clock."""
_listener: ContextVar[Callable[[str], None]] = ContextVar("_listener", default=lambda text: None)


@contextmanager
def told_to(say: Callable[[str], None]) -> Iterator[None]:
    """Call ``say`` with the progress of each file that is read in this block."""
    token = _listener.set(say)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(text: str) -> None:
    """A word on a file to whoever listens."""
    _listener.get()(text)


def check_ordinary(path: str | Path) -> None:
    """Raise `OSError` for a pipe or a device: it may have no end, and cannot be read twice."""
    if (found := Path(path)).exists() and not (found.is_file() or found.is_dir()):
        raise OSError("it is a pipe or a device, expected an ordinary file: write it to one first")


def lines(path: str, file: TextIO) -> Iterator[str]:
    """The lines of an open file, and a word on them every few seconds."""
    size, seen, start = Path(path).stat().st_size, 0, time.monotonic()
    told = start
    for count, line in enumerate(file, 1):
        yield line
        seen += len(line)
        if count % EVERY == 0 and (now := time.monotonic()) - told >= SECONDS:
            told = now
            tell(f"  reading {Path(path).name}: {_share(seen, size)}, {count:,} lines, {now - start:.0f} s")


def _share(seen: int, size: int) -> str:
    """Counts letters as bytes, so the progress of a file with non-ASCII letters lags a little."""
    return f"{min(seen / size, 1):.0%} of {size / 2**20:,.0f} MiB" if size else f"{seen / 2**20:,.0f} MiB"
