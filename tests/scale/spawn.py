"""Several gloo processes on this machine, which meet in a file and write what they found to another."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def spawned(module: str, folder: Path, ranks: int, *arguments: str, timeout: float = 300) -> list[Any]:
    """What each rank of ``python -m module rank ranks folder *arguments`` left in ``folder/found.<rank>``."""
    command = [sys.executable, "-W", "ignore", "-m", module]
    logs = [(folder / f"log.{rank}").open("w+") for rank in range(ranks)]
    started = [
        subprocess.Popen([*command, str(rank), str(ranks), str(folder), *arguments], cwd=ROOT, env=environment(), stdout=log, stderr=log)
        for rank, log in enumerate(logs)
    ]
    try:
        for process, log in zip(started, logs, strict=True):
            code = process.wait(timeout=timeout)
            log.seek(0)
            assert code == 0, log.read()[-3000:]
    finally:
        for process, log in zip(started, logs, strict=True):
            process.kill()
            process.wait()
            log.close()
    return [json.loads((folder / f"found.{rank}").read_text(encoding="utf-8")) for rank in range(ranks)]


def joined(rank: int, ranks: int, folder: str) -> None:
    """The meeting itself, in a process that was started so."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks, timeout=timedelta(seconds=60))


def left(rank: int, folder: str, found: Any) -> None:
    """Write what was found, and go when all have."""
    import torch.distributed as dist

    Path(folder, f"found.{rank}").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    os._exit(0)  # a reducer that a refusal left waiting aborts an orderly end
