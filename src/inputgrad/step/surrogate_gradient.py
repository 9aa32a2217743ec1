"""The way back: values whose backward pass hands on what was computed already. Knows autograd alone."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inputgrad.distributed.joined import is_joined
from inputgrad.errors import EngineError
from inputgrad.passes.precision import widened
from inputgrad.torch_internals.autograd import keeps_graph
from inputgrad.torch_internals.gradient_hooks import are_heard
from inputgrad.torch_internals.tensors import is_at_hand
from inputgrad.torch_internals.tracing import is_tracing

_DTYPE = operator.attrgetter("dtype")


class SurrogateGradient(torch.autograd.Function):
    """A value whose backward pass hands the given cotangents to the given tensors, and goes on into the value's own graph.

    The value and gradient of ``value + (s − s.detach())`` with s = Σ ⟨v, t⟩, without forming s, which half precision could overflow.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, cotangents: list[Tensor], *tensors: Tensor) -> Tensor:
        ctx.cotangents, ctx.dtypes = cotangents, list(map(_DTYPE, tensors))
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        cotangents = ctx.cotangents
        if cotangents is None:
            raise RuntimeError("this loss was differentiated before and its graph is freed: write loss.backward(retain_graph=True) for all passes but the last")
        if not keeps_graph():
            ctx.cotangents = None  # autograd copies a gradient that anyone else holds
        if is_at_hand(grads[0]) and not is_tracing() and grads[0].item() == 1:  # on a device, looking would wait for it
            if list(map(_DTYPE, cotangents)) != ctx.dtypes:
                cotangents = list(map(Tensor.to, cotangents, ctx.dtypes))
            return (grads[0], None, *cotangents)
        owed = zip(cotangents, ctx.dtypes, strict=True)
        return (grads[0], None, *[(widened(grads[0]) * widened(cotangent)).to(dtype) for cotangent, dtype in owed])


def once_differentiable_loss(value: Tensor) -> Tensor:
    """``value``, a function of the parameters in its own graph, whose backward pass cannot be differentiated again."""
    if value.requires_grad:
        value.register_hook(_refuse_second_derivative)
    return value


def _refuse_second_derivative(_gradient: Tensor | None = None) -> None:
    if torch.is_grad_enabled():
        raise EngineError(
            "this loss can be differentiated with respect to the parameters once, not twice: backward(create_graph=True) through it would be "
            "wrong. For losses that are differentiated again build it with inputgrad.output_and_gradient, whose graph is complete"
        )


def with_gradients(value: Tensor, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
    """``value``, whose backward pass gives the named parameters these gradients."""
    result: Tensor = SurrogateGradient.apply(value, list(gradients.values()), *map(parameters.__getitem__, gradients))
    return result


def accumulate(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
    """Add the gradients to the named parameters' ``.grad`` as a backward pass does, hooks included.

    Where nothing listens they are handed over as they are; autograd would copy each.
    """
    is_distributed = is_joined()  # wrappers listen at places that cannot be seen from here
    named = [parameters[name] for name in gradients]
    listened = []
    for name, parameter, is_heard in zip(gradients, named, [True] * len(named) if is_distributed else are_heard(named), strict=True):
        if is_heard:
            listened.append(name)
        elif parameter.grad is None:
            parameter.grad = gradients[name]
        else:
            parameter.grad.add_(gradients[name])
    if listened:
        torch.autograd.backward([parameters[name] for name in listened], [gradients[name] for name in listened])
