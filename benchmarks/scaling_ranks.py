"""``python -m benchmarks.scaling_ranks``: the cost of the loss on 1, 2 and 4 gloo processes, relative to the plain distributed step, with collectives counted.

Under DDP, and under FSDP2 with every layer sharded for itself.

Each process has one thread and the same number of samples whatever their number, so on fewer cores than processes the steps grow, the ratios should not.
Plain and penalised steps alternate, so another load meets both alike.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import inputgrad as ig

RANKS = (1, 2, 4)
LAYOUTS = ("DDP", "FSDP2")
ENGINES = ("double_backward", "reverse_over_forward", "finite_difference")
ROUNDS, WARM = 15, 3
SAMPLES, WIDTH = 128, 512


def counted(act: Callable[[], object]) -> str:
    """The collectives that ``act`` starts, in words."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        act()
    events = [event for event in profile.key_averages() if event.key.startswith("c10d::")]
    return ", ".join(f"{event.count} {event.key.removeprefix('c10d::').rstrip('_')}" for event in sorted(events, key=lambda event: event.key))


def seconds(act: Callable[[], object]) -> float:
    dist.barrier()
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def laid_out(layout: str, ranks: int) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 10))
    if layout == "DDP":
        return DistributedDataParallel(layers)
    mesh = init_device_mesh("cpu", (ranks,))
    for layer in layers[::2]:
        fully_shard(layer, mesh=mesh)
    return fully_shard(layers, mesh=mesh)


def work(rank: int, ranks: int, folder: str) -> None:
    """One process: every engine's step beside the plain one; the first process prints."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    for layout in LAYOUTS:
        compared(layout, rank, ranks)
    dist.barrier()
    os._exit(0)


def compared(layout: str, rank: int, ranks: int) -> None:
    """The engines' steps in one layout."""
    model = laid_out(layout, ranks)
    x, y = torch.randn(SAMPLES, 64), torch.randint(10, (SAMPLES,))
    base = nn.CrossEntropyLoss()

    def plain() -> None:
        model.zero_grad()
        base(model(x), y).backward()

    for engine in ENGINES:
        criterion = ig.InputGradientLoss("cross_entropy", [0.1 * ig.GradientNorm(of="loss", power=2)], engine=engine)

        def penalised(criterion: ig.InputGradientLoss = criterion) -> None:
            model.zero_grad()
            criterion(model, x, y).backward()

        times = [(seconds(plain), seconds(penalised)) for _ in range(WARM + ROUNDS)][WARM:]
        ratio = statistics.median(after / before for before, after in times)
        collectives = counted(plain), counted(penalised)
        if rank == 0:
            milliseconds = 1e3 * statistics.median(before for before, _ in times)
            print(f"| {layout} | {ranks} | `{engine}` | {milliseconds:.1f} | {ratio:.2f} | {collectives[0]} | {collectives[1]} |", flush=True)


def main() -> None:
    print(
        "| layout | processes | engine | plain step, ms | with the term, ratio | collectives, plain | with the term |\n"
        "| --- | --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    for ranks in RANKS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scaling_ranks"]
            started = [
                subprocess.Popen([*command, str(rank), str(ranks), folder], cwd=Path(__file__).parents[1], env=environment, stderr=subprocess.DEVNULL)
                for rank in range(ranks)
            ]
            ended = [process.wait() for process in started]
            if any(ended):
                raise SystemExit(f"a process of {ranks} failed")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        main()
