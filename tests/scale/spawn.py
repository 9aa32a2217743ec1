"""Processes that tests start on this machine: gloo ranks that meet in a file, ``torchrun``, and a run that gets a signal."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import limits

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """One thread each, the processor, and a network that never leaves the machine."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def spawned(module: str, folder: Path, ranks: int, *arguments: str, limit: float) -> list[Any]:
    """What each rank of ``module.main(rank, ranks, folder, *arguments)`` left in ``folder/found.<rank>``. The first rank that fails ends all.

    The ranks are forks of one process (`tests.scale.forks`), so that torch is imported once for all of them.
    """
    command = [sys.executable, "-W", "ignore", "-m", "tests.scale.forks", module, str(ranks), str(folder), *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True) as process:
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    told = folder / "statuses"
    statuses = json.loads(told.read_text(encoding="utf-8")) if told.exists() else [None] * ranks
    logs = [folder / f"log.{rank}" for rank in range(ranks)]
    said = "\n".join(log.read_text(encoding="utf-8")[-3000:] for log in logs if log.exists())
    assert statuses == [0] * ranks, f"exit statuses {statuses}; None: ended from here, at a failure or after {limit} s\n{said}"
    return [json.loads((folder / f"found.{rank}").read_text(encoding="utf-8")) for rank in range(ranks)]


def joined(rank: int, ranks: int, folder: str) -> None:
    """The meeting itself, in a process that was started so."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    timeout = timedelta(seconds=limits.COLLECTIVE)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks, timeout=timeout)


def left(rank: int, folder: str, found: Any) -> None:
    """Write what was found, and go when all have."""
    import torch.distributed as dist

    Path(folder, f"found.{rank}").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    os._exit(0)  # a reducer that a refusal left waiting aborts an orderly end


def torchrun(folder: Path, *arguments: str, limit: float) -> subprocess.CompletedProcess[str]:
    """``torchrun`` with two processes, which meet at a free port; started in ``folder``. At the limit all of them are ended."""
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "localhost", "--master-port", "0"]
    launch += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(launch, cwd=folder, env=environment(), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except BaseException:
            process.terminate()  # torchrun then ends its workers, which would go on without it
            process.communicate()
            raise
    return subprocess.CompletedProcess(launch, process.returncode, out, err)


def signalled(command: list[str], checkpoint: Path, number: signal.Signals, **settings: Any) -> tuple[int, str]:
    """The exit status and the output of a run that gets a signal as soon as its first checkpoint is there."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **settings) as process:
        try:
            until = time.monotonic() + limits.FIRST_CHECKPOINT
            while not checkpoint.exists() and process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            process.send_signal(number)
            printed = process.communicate(timeout=limits.END)[0]
        finally:
            process.kill()
    return process.returncode, printed
