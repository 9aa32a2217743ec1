"""Computes what a term WOULD give, had its input gradient kept a graph: a forked process makes the same step with ``create_graph=True`` and ends.

The run itself is left as it is. Knows the facts of the run and no probe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import threading
import warnings

import torch

from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Facts

_SECONDS = 30.0


class _Child:
    """In the forked process: where to write, and which call was changed."""

    pipe: int | None = None
    call: GradientCall | None = None


def keeps_graph(facts: Facts, call: GradientCall) -> bool:
    """Whether this backward pass is to keep its graph: true in the forked process alone, which this makes once for each line in question."""
    dead = (term.origin for earlier in facts.calls for term in earlier.graph.dead_terms)
    in_question = {origin.gradient.call.site for origin in dead if origin.cut and origin.cut.by == "no graph"}
    if call.request.create_graph or call.site not in in_question or call.site in facts.effect_with_graph or _Child.pipe is not None or not _can_fork():
        return False
    facts.effect_with_graph[call.site] = float("nan")
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _become_child(writer, call)
        return True
    os.close(writer)
    facts.effect_with_graph[call.site] = _read(reader, process)
    return False


def answer(call: GradientCall) -> None:
    """In the forked process: the first loss that comes from the input gradient in question, now with its graph, gives the answer. It does not return."""
    if _Child.pipe is None or _Child.call is None:
        return
    reached = [term for term in call.graph.live_terms if term.gradient.call is _Child.call]
    if reached:
        os.write(_Child.pipe, struct.pack("d", reached[0].effect if reached[0].effect is not None else float("nan")))
        os._exit(0)


def give_up() -> None:
    """In the forked process: the step or the end comes, and no loss did."""
    if _Child.pipe is not None:
        os._exit(1)


def _become_child(writer: int, call: GradientCall) -> None:
    _Child.pipe, _Child.call = writer, call
    torch.set_num_threads(1)  # the other threads were not forked along
    warnings.simplefilter("ignore")  # where a warning is an error, the graph that is kept would end the answer
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    with contextlib.suppress(Exception):
        sys.excepthook = lambda *_: os._exit(1)
    signal.alarm(int(_SECONDS))


def _read(reader: int, process: int) -> float:
    ready, _, _ = select.select([reader], [], [], _SECONDS)
    data = os.read(reader, 8) if ready else b""
    os.close(reader)
    with contextlib.suppress(OSError):
        if not data:
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return struct.unpack("d", data)[0] if len(data) == 8 else float("nan")


def _can_fork() -> bool:
    return (
        hasattr(os, "fork")
        and threading.current_thread() is threading.main_thread()
        and not (torch.cuda.is_available() and torch.cuda.is_initialized())
        and not (torch.distributed.is_available() and torch.distributed.is_initialized())
    )
