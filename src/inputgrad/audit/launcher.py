"""The processes that one launcher (torchrun and its like) has started: which of them this is, and what the others on this machine have found.

Each writes its own report. The first one prints, and its status is that of all: it waits a little for the word that each other one leaves when it ends.
Knows no run, no rule and no report.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

_PATIENCE = 10.0
"""How many seconds the first process waits for the word of the others."""
HASTE = 1.0
"""The same where it has failed itself: the others may be waiting for it."""
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Word:
    """What one process says to the first: what it found, in one line, and whether that decides the status."""

    rank: int
    said: str
    fails: bool


@dataclass(frozen=True)
class Launched:
    """This process among those of its launcher. rank: 0 for the first, and where there is no launcher; others: how many more there are on this machine."""

    rank: int = 0
    others: int = 0

    @classmethod
    def by_environment(cls) -> "Launched":
        """What the launcher has written into the environment."""
        rank, local, count = (_number(name) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        return cls(rank, max(count - 1, 0) if local == 0 else 0)

    @property
    def alone(self) -> bool:
        return not self.rank and not self.others

    def begin(self) -> None:
        """Before the script: the first process makes the place where the others leave their words."""
        if not self.alone:
            end_by_report()
        if self.others:
            with contextlib.suppress(OSError):
                _folder().mkdir(mode=0o700)

    def leave(self, word: Word) -> None:
        """Tell the first process, which may have gone."""
        with contextlib.suppress(OSError):
            folder = _folder()
            unfinished = folder / f"{self.rank}.part"
            unfinished.write_text(json.dumps(asdict(word)), encoding="utf-8")
            unfinished.replace(folder / f"{self.rank}.json")

    def words(self, patience: float = _PATIENCE) -> list[Word]:
        """The words of the other processes on this machine, in order; of those that have ended, when patience is at its end."""
        if not self.others:
            return []
        folder, until = _folder(), time.monotonic() + patience
        while len(list(folder.glob("*.json"))) < self.others and time.monotonic() < until:
            time.sleep(0.05)
        with contextlib.suppress(OSError, ValueError, TypeError):
            found = [Word(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")]
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            return sorted(found, key=lambda word: word.rank)
        return []


def end_by_report() -> None:
    """From here on the launcher's SIGTERM, which it sends to all when one fails, ends the script so that what was found is still written."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    process = os.getpid()

    def ended(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == process:
            sys.exit(TERMINATED)
        signal.signal(number, signal.SIG_DFL)  # a child of the script's own
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, ended)


def outlive_the_launcher() -> None:
    """The script is over and the report is written: its SIGTERM comes too late, and it waits before it kills."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _folder() -> Path:
    """Where the processes of one start leave their words: the launcher is the parent of all."""
    start = "-".join(str(value) for value in (os.getppid(), os.environ.get("MASTER_PORT", ""), os.environ.get("TORCHELASTIC_RESTART_COUNT", "")))
    return Path(tempfile.gettempdir()) / f"inputgrad-audit-{start}"


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0
