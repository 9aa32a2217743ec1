"""Signs of life while a program is compiled, which takes seconds to minutes. Knows the logger alone."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOG = logging.getLogger("inputgrad")
FIRST, NEXT = 5.0, 30.0
"""Seconds until the first line, and between the later ones."""


@contextmanager
def told(what: str) -> Iterator[None]:
    """Around a compilation: a line beforehand for who listens (level info), and one for all (level warning) when it takes longer than some seconds."""
    began, done = time.perf_counter(), threading.Event()

    def tell() -> None:
        wait = FIRST
        while not done.wait(wait):
            LOG.warning(
                "still compiling %s, %.0f s so far. The first step of each shape takes from seconds to a few minutes, the later ones run at once; the compiler "
                "keeps what it makes for the next process",
                what,
                time.perf_counter() - began,
            )
            wait = NEXT

    LOG.info("compiling %s", what)
    threading.Thread(target=tell, name="inputgrad: compiling", daemon=True).start()
    try:
        yield
    finally:
        done.set()
    LOG.info("compiled %s in %.1f s", what, time.perf_counter() - began)
