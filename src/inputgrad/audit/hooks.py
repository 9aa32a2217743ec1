"""Two more places where a run is watched: a GradScaler's scaling, and a module's change of mode. Both are as before when the watch ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.audit.facts import Event
from inputgrad.audit.sites import here

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch


@contextlib.contextmanager
def listening(watch: Watch) -> Iterator[None]:
    """While it lasts, scaled losses are marked, and changes of mode are events."""
    scaler = torch.amp.GradScaler
    scale, train = scaler.scale, nn.Module.train
    scaler.scale = _scaling(watch, scale)  # type: ignore[method-assign]
    nn.Module.train = _moding(watch, train)  # type: ignore[method-assign]
    try:
        yield
    finally:
        scaler.scale = scale  # type: ignore[method-assign]
        nn.Module.train = train  # type: ignore[method-assign]


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


def _moding(watch: Watch, original: Callable[..., Any]) -> Callable[..., Any]:
    inside = False

    def train(module: nn.Module, mode: bool = True) -> Any:
        nonlocal inside
        if inside or not watch.watching:
            return original(module, mode)
        watch.facts.events.append(Event("mode", here(), watch.step, {"training": bool(mode), "module": type(module).__name__}))
        inside = True
        try:
            return original(module, mode)
        finally:
            inside = False

    return train
