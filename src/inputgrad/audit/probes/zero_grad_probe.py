"""Watches optimisers being made and gradients being emptied: ``Optimizer.__init__``, and ``zero_grad`` of optimisers and modules. Knows no other probe."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder


def patches(recorder: Recorder) -> list[Patch]:
    ownership = recorder.ownership

    def making(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it takes the place of one
            original(optimizer, *args, **kwargs)
            ownership.add_optimizer(optimizer)

        return __init__

    def zeroing(original: Callable[..., None]) -> Callable[..., None]:
        def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> None:
            parameters = list(owner.parameters()) if isinstance(owner, nn.Module) else [p for group in owner.param_groups for p in group["params"]]
            if isinstance(owner, torch.optim.Optimizer):
                ownership.add_optimizer(owner)
            ownership.emptying, here = True, recorder.watching and not recorder.stepping
            try:
                if here:
                    recorder.pause(True)
                original(owner, *args, **kwargs)
            finally:
                ownership.emptying = False
                if here:
                    recorder.pause(False)
            for parameter in parameters:
                ownership.emptied(parameter)

        return zero_grad

    return [Patch(torch.optim.Optimizer, "zero_grad", zeroing), Patch(nn.Module, "zero_grad", zeroing), Patch(torch.optim.Optimizer, "__init__", making)]
