"""DistributedDataParallel: which forward passes went through it. It averages gradients between workers only in the backward pass that follows one."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from inputgrad.audit.facts import Event
from inputgrad.audit.sites import here

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch


@contextlib.contextmanager
def listening(watch: Watch) -> Iterator[None]:
    """While it lasts, each forward pass through a `DistributedDataParallel` is an event."""
    if not torch.distributed.is_available():
        yield
        return
    wrapper = torch.nn.parallel.DistributedDataParallel
    original, construct = wrapper.forward, wrapper.__init__

    @functools.wraps(original)
    def forward(module: Any, *args: Any, **kwargs: Any) -> Any:
        _tell(watch, module, "ddp forward")
        return original(module, *args, **kwargs)

    @functools.wraps(construct)
    def begin(module: Any, *args: Any, **kwargs: Any) -> None:
        construct(module, *args, **kwargs)
        _tell(watch, module, "ddp")

    wrapper.forward, wrapper.__init__ = forward, begin  # type: ignore[method-assign, assignment]  # put back when the audit ends
    try:
        yield
    finally:
        wrapper.forward, wrapper.__init__ = original, construct  # type: ignore[method-assign]  # put back when the audit ends


def _tell(watch: Watch, module: Any, name: str) -> None:
    if watch.watching:
        averaging = torch.is_grad_enabled() and bool(module.require_backward_grad_sync)
        parameters = frozenset(id(parameter) for parameter in module.module.parameters() if parameter.requires_grad)
        detail = {"calls": len(watch.facts.calls), "averaging": averaging, "parameters": parameters, "module": id(module)}
        watch.facts.events.append(Event(name, here(), watch.step, detail))
