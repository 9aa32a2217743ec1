"""``python -m …`` for tests, as a fork of a process that has torch loaded: most of the time of a short script goes into imports.

A fork runs the module as Python does: with its own arguments, folder, environment and output, and to the end, with what was registered for it. It differs
from a process of its own in what is loaded before; what is tested of that needs one. `tests.scale.forks` forks processes that work together.
"""

import atexit
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m *arguments``, started in a folder."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        task = {"arguments": arguments, "folder": str(folder), "environment": dict(os.environ), "place": place}
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
        out, err = (Path(place, name).read_text(encoding="utf-8") for name in ("out", "err"))
    return subprocess.CompletedProcess(arguments, status, out, err)


@cache
def _server() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    server = subprocess.Popen([sys.executable, "-m", "tests.forked"], cwd=Path(__file__).parents[1], stdin=pipe, stdout=pipe, text=True)
    atexit.register(server.__exit__, None, None, None)  # closes its input, with which it ends
    return server


def _serve() -> str | None:
    """Fork for each task, and tell how it ended. In the fork: the module that it is to run. None at the end."""
    import torch._dynamo  # noqa: F401  # used by no line here: loaded so that the forks need not load it

    for line in sys.stdin:
        task = json.loads(line)
        if not (pid := os.fork()):
            return _begun(**task)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def _begun(arguments: Sequence[str], folder: str, environment: dict[str, str], place: str) -> str:
    for number, path, mode in ((0, Path(os.devnull), "r"), (1, Path(place, "out"), "w"), (2, Path(place, "err"), "w")):
        with path.open(mode) as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = list(arguments), folder
    return arguments[0]


if __name__ == "__main__" and (module := _serve()) is not None:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
