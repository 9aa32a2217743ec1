"""The pair of ``torch.autograd.Function`` behind every second derivative of ours: what an operation's file need not know of autograd.

    y = f(x, w)          gx = (∂f/∂x)ᵀ gy          ⟨u, gx⟩ differentiated in gy, x and w by the file's own formula

A file hands in four formulas (`Operation`). Which gradients the running pass wants is asked of autograd's engine, so that a pass for the input gradient
pays for no weight gradient; what the formulas do not give (a weight gradient with a graph of its own, a third derivative) is made by torch's own
function, differentiated as often as torch can. Knows nothing of any operation.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget
from inputgrad.torch_internals.autograd import engine_goes_on_to
from inputgrad.torch_internals.autograd_graph import is_leaf_node
from inputgrad.torch_internals.functorch import is_transformed
from inputgrad.torch_internals.tensors import is_at_hand
from inputgrad.torch_internals.tracing import is_tracing

Tensors = tuple[Any, ...]
"""Tensors, with None where there is none."""
Wanted = Sequence[bool]


@dataclass(frozen=True)
class Operation:
    """Four formulas of one operation; ``settings`` is whatever its file keeps of a call beside tensors.

    inputs: how many of the leading tensors have a second derivative of ours; the rest are weights.
    torchs_own: (settings, *tensors) -> y, by torch, differentiable as often as torch can.
    forward: (settings, *tensors) -> y, and what the backward formulas need beside the tensors.
    backward: (settings, gy, tensors, kept, wanted) -> the gradient of each tensor.
    second: (settings, u, gy, tensors, kept, wanted) -> the gradients of Σ⟨uᵢ, gxᵢ⟩ in gy and in each tensor; ``wanted`` starts with gy's.
    """

    inputs: int
    torchs_own: Callable[..., Tensor]
    forward: Callable[..., tuple[Tensor, Tensors]]
    backward: Callable[[Any, Tensor, Tensors, Tensors, Wanted], Tensors]
    second: Callable[[Any, Tensors, Tensor, Tensors, Tensors, Wanted], Tensors]


@dataclass(frozen=True)
class _Call:
    """One call: the operation, the number of its tensors, and the inputs whose gradient is asked for (all, in an ordinary backward pass)."""

    operation: Operation
    phase: BackwardTarget
    settings: Any
    count: int
    asked: Wanted = ()


def run(operation: Operation, phase: BackwardTarget, settings: Any, *tensors: Tensor | None, rescue: bool = False) -> Any:
    """The operation's value, with its derivatives in place; NotImplemented where no input of it will be differentiated, or where it is too small to gain.

    rescue: torch's own will not do, whatever the size.
    """
    assert tensors[0] is not None
    if not differentiated(*tensors[: operation.inputs]):
        return NotImplemented
    if not (rescue or large(tensors[0])):
        phase.left_small = True
        return NotImplemented
    with without_autocast(tensors[0]):
        return _Value.apply(_Call(operation, phase, settings, len(tensors)), *tensors)


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor | None) -> Tensor:
        value, kept = call.operation.forward(call.settings, *tensors)
        ctx.save_for_backward(*tensors, *kept)
        ctx.call = call
        return value

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensors:
        call, operation = ctx.call, ctx.call.operation
        saved = ctx.saved_tensors  # once: a checkpointed region hands them out once
        tensors, kept = saved[: call.count], saved[call.count :]
        wish = wanted(ctx, call.phase)[1:]
        with without_autocast(gy):
            if not torch.is_grad_enabled():
                return (None, *operation.backward(call.settings, gy, tensors, kept, wish))
            if any(wish[operation.inputs :]):
                return (None, *_by_torch(lambda *of: (operation.torchs_own(call.settings, *of),), tensors, (gy,), wish))
            asked = _Call(operation, call.phase, call.settings, call.count, wish[: operation.inputs])
            # an output among the kept carries a graph, which the second formula has accounted for
            found = iter(_Derivative.apply(asked, gy, *tensors, *[part.detach() for part in kept]))
        return (None, *[next(found) if w else None for w in wish])


class _Derivative(torch.autograd.Function):
    """(gy, tensors, kept) -> the gradients of the inputs that are asked for."""

    @staticmethod
    def forward(ctx: Any, call: _Call, gy: Tensor, *saved: Any) -> tuple[Tensor, ...]:
        ctx.save_for_backward(gy, *saved)
        ctx.call = call
        wish = (*call.asked, *[False] * (call.count - call.operation.inputs))
        found = call.operation.backward(call.settings, gy, saved[: call.count], saved[call.count :], wish)
        return tuple(gradient for gradient, w in zip(found, wish, strict=True) if w)

    @staticmethod
    def backward(ctx: Any, *u: Tensor) -> Tensors:
        call, operation = ctx.call, ctx.call.operation
        gy, *saved = ctx.saved_tensors
        tensors, kept = saved[: call.count], tuple(saved[call.count :])
        wish = wanted(ctx, call.phase)[1 : call.count + 2]
        with without_autocast(gy):
            if torch.is_grad_enabled():
                found = _by_torch(lambda *of: _derivative_by_torch(call, *of), (gy, *tensors), u, wish)
            else:
                given = iter(u)
                all_u = tuple(next(given) if asked else None for asked in call.asked)
                found = operation.second(call.settings, all_u, gy, tuple(tensors), kept, wish)
        return (None, *found, *[None] * len(kept))


def _derivative_by_torch(call: _Call, gy: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    inputs = [tensor for tensor, asked in zip(tensors, call.asked, strict=False) if asked and tensor is not None]
    return torch.autograd.grad(call.operation.torchs_own(call.settings, *tensors), inputs, gy, create_graph=True)


def _by_torch(function: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor | None], cotangents: tuple[Tensor, ...], wish: Wanted) -> Tensors:
    """The wanted gradients of ⟨cotangents, function(tensors)⟩, each with a graph of its own."""
    apart = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]  # a tensor given twice is two arguments
    asked = [tensor for tensor, w in zip(apart, wish, strict=True) if w and tensor is not None]
    found = iter(torch.autograd.grad(function(*apart), asked, cotangents, create_graph=True, allow_unused=True))
    return tuple(next(found) if w else None for w in wish)


def differentiated(*inputs: Tensor | None) -> bool:
    """Whether a graph is made for any of them, or it may have a tangent."""
    return torch.is_grad_enabled() and any(tensor is not None and (tensor.requires_grad or is_transformed(tensor)) for tensor in inputs)


def may_hold(condition: Tensor) -> bool:
    """Whether it holds anywhere; where asking would make a device wait, or a trace depend on values: yes."""
    return not is_at_hand(condition) or is_tracing() or bool(condition.any())


def large(tensor: Tensor) -> bool:
    """Whether the arithmetic saved outweighs what a Function written in Python costs, some 0.1 ms per step."""
    return tensor.numel() >= LEAST


LEAST = 2**17
"""Elements, by measurement on a CPU core: convolution, normalisation and SiLU break even between 2¹⁵ and 2¹⁷, GELU at 2¹⁸."""


def wanted(ctx: Any, phase: BackwardTarget) -> tuple[bool, ...]:
    """For each argument of a Function: whether the running backward pass goes on to it.

    ``ctx.needs_input_grad`` only says whether it could; the engine knows what was asked for.
    """
    nodes = [node for node, _ in ctx.next_functions if node is not None]
    if len(nodes) != sum(ctx.needs_input_grad):
        return tuple(ctx.needs_input_grad)
    remaining = iter(nodes)
    return tuple(bool(needed and _goes_on(next(remaining), phase)) for needed in ctx.needs_input_grad)


def _goes_on(node: Any, phase: BackwardTarget) -> bool:
    told = engine_goes_on_to(node)
    return not (phase.only_input and is_leaf_node(node)) if told is None else told  # where the engine does not tell, the phase does


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Our formulas run in the dtypes that they are given, wherever the pass is started."""
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def as_autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The arguments of a function that autocast runs in its lower precision, cast as it would: all but float64."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not torch.is_autocast_enabled(given[0].device.type):
        return tensors
    lower = torch.get_autocast_dtype(given[0].device.type)
    return tuple(tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(lower) for tensor in tensors)
