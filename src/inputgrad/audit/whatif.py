"""What would be if: effects that are measured by really computing them. The run itself is left as it is.

The gradient of a term through an input gradient is asked of autograd beside the user's own backward pass. What a term WOULD give, had its input gradient a
graph, is computed in a forked process, which makes the same step with ``create_graph=True`` and ends.
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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.audit.graph import summands

if TYPE_CHECKING:
    from inputgrad.audit.facts import GradientCall
    from inputgrad.audit.watch import Watch

_SECONDS = 30.0


def effect(root: Tensor, source: Any, parameters: Sequence[Tensor]) -> tuple[float | None, float | None]:
    """‖∂root/∂θ‖ through the source alone, and ‖∂root/∂source‖; None where autograd refuses. source: its edge in the graph."""
    try:
        (pull,) = torch.autograd.grad(root.sum(), source, retain_graph=True, allow_unused=True)
        if pull is None or not parameters:
            return None, None
        found = torch.autograd.grad(source, list(parameters), pull, retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None, None
    square = sum(float(part.detach().double().square().sum()) for part in found if part is not None)
    return square**0.5, float(pull.detach().double().norm())


def coupling(root: Tensor, wrt: Tensor, values: tuple[int, ...]) -> float | None:
    """The share of the first sample's gradient, in norm, that lies in the other samples' inputs; None where a row of the values is no sample."""
    edge, _ = summands(root)
    if edge is None or len(values) < 1 or wrt.dim() < 1 or values[0] != wrt.shape[0] or values[0] < 2:
        return None
    first = torch.zeros(values, dtype=root.dtype, device=root.device)
    first[0] = 1
    try:
        (found,) = torch.autograd.grad([edge], [wrt], [first], retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None
    if found is None:
        return None
    whole, others = float(found.double().norm()), float(found[1:].double().norm())
    return others / whole if whole > 0 else None


class _Child:
    """In the forked process: where to write, and which call was changed."""

    pipe: int | None = None
    call: GradientCall | None = None


def asked(watch: Watch, call: GradientCall) -> bool:
    """Whether this backward pass is to keep its graph: true in the forked process alone, which this makes once for each line in question."""
    wanted = {item.trail.source.call.site for earlier in watch.facts.calls for item in earlier.dead if item.trail.cut and item.trail.cut.by == "no graph"}
    if call.create_graph or call.site not in wanted or call.site in watch.facts.measured or _Child.pipe is not None or not _can_fork():
        return False
    watch.facts.measured[call.site] = float("nan")
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _become_child(writer, call)
        return True
    os.close(writer)
    watch.facts.measured[call.site] = _read(reader, process)
    return False


def answer(watch: Watch, call: GradientCall, roots: list[Tensor]) -> None:
    """In the forked process: the first loss that comes from the input gradient in question, now with its graph, gives the answer. It does not return."""
    if _Child.pipe is None or _Child.call is None:
        return
    reached = [item for item in call.alive if item.source.call is _Child.call]
    if reached:
        os.write(_Child.pipe, struct.pack("d", reached[0].effect if reached[0].effect is not None else float("nan")))
        os._exit(0)


def give_up(watch: Watch) -> None:
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
