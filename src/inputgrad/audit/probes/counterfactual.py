"""Computes what a term WOULD give, had its input gradient kept a graph: a forked process makes the same step with ``create_graph=True`` and ends.

The run itself is left as it is. Knows the facts of the run and no probe.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import struct
import sys
import threading
import warnings

import torch
from torch import Tensor

from inputgrad.audit.call_sites import Site
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import DeadTerm

_SECONDS = 30.0


_ATTEMPTS = 3
"""How often it is tried for one line: a weight may be zero at first."""


class _Child:
    """In the forked process: where to write, which call was changed, at which lines the losses are, and the leaves that these reach as they are."""

    pipe: int | None = None
    call: GradientCall | None = None
    losses: frozenset[Site] = frozenset()
    reached: frozenset[int] = frozenset()


def keeps_graph(facts: Facts, call: GradientCall) -> bool:
    """Whether this backward pass is to keep its graph: true in the forked process alone, which this makes a few times for each line in question."""
    known = facts.effect_with_graph.get(call.site, 0.0)
    if _Child.pipe is not None or known > 0 or facts.attempts.get(call.site, 0) >= _ATTEMPTS:
        return False
    losses = [earlier for earlier in facts.calls if any(_in_question(term, call.site) for term in earlier.graph.dead_terms)]
    if not losses:
        return False
    facts.measurable = _can_fork()
    if not facts.measurable:
        return False
    facts.attempts[call.site] = facts.attempts.get(call.site, 0) + 1
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _become_child(writer, call, losses)
        return True
    os.close(writer)
    answer = _read(reader, process)
    facts.effect_with_graph[call.site] = answer if not math.isnan(answer) else facts.effect_with_graph.get(call.site, answer)
    return False


def _in_question(term: DeadTerm, site: Site) -> bool:
    return term.origin.gradient.call.site == site and term.value != 0 and not term.sample


def answer(call: GradientCall) -> None:
    """In the forked process: the loss in question, now with the graph of the input gradient, gives the answer. It does not return."""
    if _Child.pipe is None or _Child.call is None or call.site not in _Child.losses:
        return
    reached = [term for term in call.graph.live_terms if term.gradient.call is _Child.call]
    if reached:
        effects = [term.effect for term in reached if term.effect is not None]
        os.write(_Child.pipe, struct.pack("d", max(effects, default=float("nan"))))
        os._exit(0)


def asks_of(call: GradientCall) -> bool:
    """Whether this is the forked process, and the call the one that was changed."""
    return _Child.pipe is not None and _Child.call is call


def changed() -> GradientCall | None:
    """In the forked process: the call that keeps its graph, whatever would end that graph afterwards."""
    return _Child.call if _Child.pipe is not None else None


def trained(parameters: list[Tensor]) -> list[Tensor]:
    """The parameters that an effect is measured on: in the forked process those that the loss trains as it is, for it is no loss of the others."""
    own = [parameter for parameter in parameters if id(parameter) in _Child.reached]
    return own if _Child.pipe is not None and own else parameters


def give_up() -> None:
    """In the forked process: the step or the end comes, and no loss did."""
    if _Child.pipe is not None:
        os._exit(1)


def _become_child(writer: int, call: GradientCall, losses: list[GradientCall]) -> None:
    _Child.pipe, _Child.call = writer, call
    _Child.losses = frozenset(loss.site for loss in losses)
    _Child.reached = frozenset[int]().union(*(loss.graph.reaches for loss in losses))
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
