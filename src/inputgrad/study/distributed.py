"""Several processes that train one network: who they are, which samples are whose, and how what they found comes together.

``torchrun --nproc-per-node 2 -m inputgrad train CONFIG.yaml``. Knows torch's process groups; knows no config and no file.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from inputgrad.study.problems import StudyError


class OneProcessError(StudyError):
    """What went wrong in this process and perhaps in no other: it speaks for itself."""

    def __init__(self, message: str) -> None:
        super().__init__(f"process {rank()} of {ranks()}: {message}" if ranks() > 1 else message)


def rank() -> int:
    """Which of the processes this is; 0 where it is alone."""
    return dist.get_rank() if _together() else 0


def ranks() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _together() else 1


def first() -> bool:
    """Whether this process speaks and writes for all."""
    return rank() == 0


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def company() -> Iterator[None]:
    """The process group that torchrun has prepared, where it started this process; SIGTERM ends as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _terminated)
    launched = "TORCHELASTIC_RUN_ID" in os.environ and not _together()
    try:
        if launched:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if launched:
            dist.destroy_process_group()


def end(status: int) -> int:
    """The end of a process that torchrun started, once everything is written: what was registered with `atexit` runs, and the interpreter is not taken down.

    gloo's threads outlive the process group, and one that lets go of a tensor while the interpreter ends aborts the process ("terminate called without an
    active exception"): one run of two processes in 40 under load, with torch 2.13. Any other process gets its status back.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return status
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _terminated(number: int, _frame: Any) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def replica(model: nn.Module) -> nn.Module:
    """The model as this process trains it: its gradients are the sums over all processes, divided by their number."""
    return nn.parallel.DistributedDataParallel(model) if ranks() > 1 else model


def share(chosen: Tensor) -> tuple[Tensor, float]:
    """This process's part of the samples of one step, and the factor of its loss, so that the mean over the processes is the mean over the samples.

    Parts differ by one sample at the most; where there are fewer samples than processes, the rest take the first one with the factor 0.
    """
    count, processes = len(chosen), ranks()
    part = chosen.tensor_split(processes)[rank()]
    return (part, len(part) * processes / count) if len(part) else (chosen[:1], 0.0)


def summed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each value summed over all processes, in one collective."""
    if ranks() == 1 or not values:
        return values
    together = torch.stack(list(values.values()))
    dist.all_reduce(together)
    return dict(zip(values, together.unbind(), strict=True))


def seeded(seed: int) -> int:
    """A seed of this process's own for what losses and models draw: its samples are its own, and so is the noise on them."""
    return seed + rank()


def lost(error: RuntimeError) -> bool:
    """Whether this is how a process group says that one of its processes is gone."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in ("gloo", "Connection closed", "Connection reset"))


def told_to_all(act: Callable[[], Any]) -> Any:
    """What ``act`` gives on the first process, on all; where it raises `StudyError`, all raise it."""
    if ranks() == 1:
        return act()
    held: list[Any] = [None, None]
    if first():
        try:
            held[0] = act()
        except StudyError as error:
            held[1] = str(error)
    dist.broadcast_object_list(held)
    if held[1] is not None:
        raise StudyError(held[1])
    return held[0]


def leave_together() -> None:
    """At the end of what went well: alone, one process in six under load was aborted in the teardown of gloo (torch 2.13)."""
    if ranks() > 1:
        dist.barrier()


def gathered(value: Any) -> list[Any]:
    """Everybody's value, by rank."""
    if ranks() == 1:
        return [value]
    everybody: list[Any] = [None] * ranks()
    dist.all_gather_object(everybody, value)
    return everybody
