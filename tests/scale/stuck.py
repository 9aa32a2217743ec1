"""A rank that fails while the others wait for it for ever."""

import threading


def main(rank: int, _ranks: int, _folder: str) -> None:
    if rank == 1:
        raise SystemExit("rank 1 has failed")
    threading.Event().wait()
