"""What each of two gloo processes runs: the distributed layouts of the matrix, and the ways of DDP and FSDP2 that are no layout of their own."""

import torch.distributed as dist

from tests.scale import cells, ways
from tests.scale.spawn import joined, left


def main(rank: int, ranks: int, folder: str, how: str) -> None:
    joined(rank, ranks, folder)
    rows = cells.cells(cells.TOGETHER, quick=how == "quick", after=dist.barrier)
    left(rank, folder, {"rows": rows, "ways": ways.found()})
