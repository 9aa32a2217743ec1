"""Models under ``DistributedDataParallel``, whose reducer waits for a gradient of every parameter in every backward pass.

The input gradient depends on fewer parameters than the output: the last layer's bias shifts the output, and no derivative of it. Where the pass at the
place itself carries no base loss, the reducer would wait for that bias, and the next step would raise.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def reaching_all(share: Tensor, model: nn.Module) -> Tensor:
    """The share, whose backward pass also hands a gradient of zero to each parameter that a reducer waits for."""
    waited_for = [parameter for module in _replicated(model) for parameter in module.parameters() if parameter.requires_grad]
    if not waited_for or not share.requires_grad:
        return share
    result: Tensor = _ReachingAll.apply(share, *waited_for)
    return result


def settle(model: nn.Module) -> None:
    """Let the reducer rearrange its buckets now, as it does once, before the second forward pass: inside ``torch.func.jvp`` it cannot."""
    for module in _replicated(model):
        if hasattr(module.reducer, "_rebuild_buckets"):
            module.reducer._rebuild_buckets()


def _replicated(model: nn.Module) -> list[DistributedDataParallel]:
    return [module for module in model.modules() if isinstance(module, DistributedDataParallel)]


class _ReachingAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters
        return share.view_as(share)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return (grads[0], *[torch.zeros_like(parameter) for parameter in ctx.parameters])
