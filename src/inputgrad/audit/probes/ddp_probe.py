"""Watches DistributedDataParallel: which forward passes went through it. Knows no other probe.

It averages gradients only in the backward pass that follows one of its forward passes.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import averages_gradients


def patches(recorder: Recorder) -> list[Patch]:
    """None where this torch has no distributed training."""
    if not torch.distributed.is_available():
        return []

    def passing(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def forward(module: Any, *args: Any, **kwargs: Any) -> Any:
            _note(recorder, module, "ddp forward")
            return original(module, *args, **kwargs)

        return forward

    def making(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def __init__(module: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it takes the place of one
            original(module, *args, **kwargs)
            _note(recorder, module, "ddp")

        return __init__

    wrapper = torch.nn.parallel.DistributedDataParallel
    return [Patch(wrapper, "forward", passing), Patch(wrapper, "__init__", making)]


def _note(recorder: Recorder, module: Any, name: str) -> None:
    if recorder.watching:
        parameters = frozenset(id(parameter) for parameter in module.module.parameters() if parameter.requires_grad)
        averaging = torch.is_grad_enabled() and averages_gradients(module)
        recorder.event(name, calls=len(recorder.facts.calls), averaging=averaging, parameters=parameters, module=id(module))
