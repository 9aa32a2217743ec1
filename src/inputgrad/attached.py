"""The way back: a value whose backward pass hands given cotangents to given tensors. Knows autograd alone."""

from typing import Any

import torch
from torch import Tensor

from inputgrad.errors import EngineError


class Attached(torch.autograd.Function):
    """A value whose backward pass hands the given cotangents to the given tensors, and goes on into the value's own graph.

    The value and gradient of ``value + (s − s.detach())`` with s = Σ ⟨v, t⟩, without forming s, which half precision could overflow.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, cotangents: list[Tensor], *_tensors: Tensor) -> Tensor:
        ctx.cotangents = cotangents
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise EngineError(
                "the loss of inputgrad has a first derivative in the parameters, and no second one: backward(create_graph=True) through it would be "
                "wrong. For losses that are differentiated again build it with inputgrad.output_and_gradient, whose graph is complete"
            )
        return (grads[0], None, *[grads[0] * cotangent for cotangent in ctx.cotangents])
