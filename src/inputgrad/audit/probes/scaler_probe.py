"""Watches a GradScaler: which losses it scales, by what, and when it divides the gradients again. Follows no graph."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder


def patches(recorder: Recorder) -> list[Patch]:
    def scaling(original: Callable[..., Any]) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            result = original(scaler, outputs)
            if recorder.watching and scaler.is_enabled():
                recorder.scale = float(scaler.get_scale())
                for before, after in [(outputs, result)] if isinstance(outputs, Tensor) else zip(outputs, result, strict=False):
                    _mark(recorder, before, after)
            return result

        return scale

    def unscaling(original: Callable[..., Any]) -> Callable[..., Any]:
        def unscale_(scaler: Any, optimizer: Any) -> Any:
            if recorder.watching and scaler.is_enabled():
                recorder.event("unscaled", calls=len(recorder.facts.calls), scale=float(scaler.get_scale()))
            return original(scaler, optimizer)

        return unscale_

    return [Patch(torch.amp.GradScaler, "scale", scaling), Patch(torch.amp.GradScaler, "unscale_", unscaling)]


def _mark(recorder: Recorder, before: Tensor, after: Tensor) -> None:
    """A scaled mean is a mean still."""
    note = recorder.provenance.of(before)
    scaled = replace(recorder.provenance.of(after), scaled=True, mean_over=note.mean_over, summed_outputs=note.summed_outputs)
    recorder.provenance.put(after, scaled)
