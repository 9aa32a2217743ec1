"""Watches modules change between training and evaluation mode: ``Module.train``, which ``Module.eval`` calls too. Knows no other probe."""

from collections.abc import Callable
from typing import Any

from torch import nn

from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder


def patches(recorder: Recorder) -> list[Patch]:
    def changing(original: Callable[..., Any]) -> Callable[..., Any]:
        inside = False

        def train(module: nn.Module, mode: bool = True) -> Any:
            nonlocal inside
            if inside or not recorder.watching:  # a module passes it on to its own modules
                return original(module, mode)
            recorder.event("mode", training=bool(mode), calls=len(recorder.facts.calls), module=type(module).__name__)
            inside = True
            try:
                return original(module, mode)
            finally:
                inside = False

        return train

    return [Patch(nn.Module, "train", changing)]
