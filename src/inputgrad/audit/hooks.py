"""Two more places where a run is watched: a GradScaler's scaling, and a module's change of mode. Both are as before when the watch ends."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.audit.facts import Event
from inputgrad.audit.sites import here

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch

_SOME = 1000
"""Of how many values it is taken whether two tensors are the same."""


@contextlib.contextmanager
def listening(watch: Watch) -> Iterator[None]:
    """While it lasts, scaled losses are marked, and changes of mode are events."""
    scaler = torch.amp.GradScaler
    scale, unscale, train = scaler.scale, scaler.unscale_, nn.Module.train
    scaler.scale = _scaling(watch, scale)  # type: ignore[method-assign]  # put back when the audit ends
    scaler.unscale_ = _unscaling(watch, unscale)  # type: ignore[method-assign]  # put back when the audit ends
    nn.Module.train = _moding(watch, train)  # type: ignore[method-assign]  # put back when the audit ends
    try:
        yield
    finally:
        scaler.scale = scale  # type: ignore[method-assign]  # put back when the audit ends
        scaler.unscale_ = unscale  # type: ignore[method-assign]  # put back when the audit ends
        nn.Module.train = train  # type: ignore[method-assign]  # put back when the audit ends


def _scaling(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    def scale(scaler: Any, outputs: Any) -> Any:
        result = original(scaler, outputs)
        if watch.watching and scaler.is_enabled():
            watch.scale = float(scaler.get_scale())
            pairs = [(outputs, result)] if isinstance(outputs, Tensor) else zip(outputs, result, strict=False)
            for before, after in pairs:
                mark = watch.lineage.of(before)
                watch.lineage.put(after, replace(watch.lineage.of(after), scaled=True, mean_over=mark.mean_over, summed_outputs=mark.summed_outputs))
        return result

    return scale


def _unscaling(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    def unscale_(scaler: Any, optimizer: Any) -> Any:
        if watch.watching and scaler.is_enabled():
            watch.facts.events.append(Event("unscaled", here(), watch.step, {"calls": len(watch.facts.calls), "scale": float(scaler.get_scale())}))
        return original(scaler, optimizer)

    return unscale_


def layer() -> int:
    """Which layer is at work: the innermost module whose ``forward`` is running, and the line there."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_name == "forward" else None
        if isinstance(owner, nn.Module):
            return hash((id(owner), frame.f_lineno))
        frame = frame.f_back
    return hash(here())


def told_apart(value: Tensor) -> tuple[float, ...]:
    """What tells one tensor of values apart from another, with high probability."""
    some = value.detach().reshape(-1)[:: max(1, value.numel() // _SOME)].double()
    return (float(some.sum()), float(some.abs().sum()), float(value.numel()))


def drawn(result: Tensor) -> int:
    """Which random draw it was: by the state that the generator was left in."""
    state = torch.cuda.get_rng_state(result.device) if result.is_cuda else torch.get_rng_state()
    return hash(state.numpy().tobytes())


def _moding(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    inside = False

    def train(module: nn.Module, mode: bool = True) -> Any:
        nonlocal inside
        if inside or not watch.watching:
            return original(module, mode)
        watch.facts.events.append(Event("mode", here(), watch.step, {"training": bool(mode), "calls": len(watch.facts.calls), "module": type(module).__name__}))
        inside = True
        try:
            return original(module, mode)
        finally:
            inside = False

    return train
