"""``python -m tests.scale.forks MODULE RANKS FOLDER [ARGUMENT …]``: a fork of this process for each rank, which runs ``MODULE.main``.

What the module imports is imported before. The first rank that fails ends the others; FOLDER/statuses holds how each ended, null where it was ended.
"""

import json
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType


def main(name: str, ranks: int, folder: str, *arguments: str) -> None:
    module = import_module(name)
    pids = [_forked(module, rank, ranks, folder, arguments) for rank in range(ranks)]
    statuses: list[int | None] = [None] * ranks
    while None in statuses and not any(statuses):
        pid, status = os.wait()
        statuses[pids.index(pid)] = os.waitstatus_to_exitcode(status)
    for pid, left in zip(pids, statuses, strict=True):
        if left is None:
            os.kill(pid, signal.SIGKILL)
    Path(folder, "statuses").write_text(json.dumps(statuses), encoding="utf-8")


def _forked(module: ModuleType, rank: int, ranks: int, folder: str, arguments: tuple[str, ...]) -> int:
    if pid := os.fork():
        return pid
    log = os.open(f"{folder}/log.{rank}", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        module.main(rank, ranks, folder, *arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
