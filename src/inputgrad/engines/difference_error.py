"""How far differences are off: the parameter gradient at the step of the engine and at its double, of all terms on request, of one ⟨v, g⟩ before a choice.

D(2h) − D(h) = (2^k − 1)·e(h) + …        e(h): the error of order h^k (k = 1, 2, 4); or the rounding of D(h), where that is larger

Must not know terms: the criterion gives the gradient of its terms.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import in_float64
from inputgrad.engines.base import Cotangents, Linearization
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import gradients_by_backward
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.torch_internals.gradient_hooks import handed_over, without_accumulation_hooks, without_gradient_hooks


def estimated_error(criterion: Any, narrow: Any, wide: Any, order: int, model: nn.Module, inputs: Any, target: Any) -> float:
    """‖D(2h) − D(h)‖ / ‖D(h)‖, over √(2^k − 1), of the parameter gradient of all terms together; 0 where they have none.

    narrow, wide: the engine at its own step h, and at 2h; order: k. The root is half way, on a scale of factors, between an error of order h^k and one of
    rounding. Costs two steps. Leaves no trace: no ``.grad``, no buffer, no draw, and the criterion's step number stays.
    """
    replay = RandomAndBufferState(model)
    replay.remember()
    gradients = []
    for engine in (narrow, wide):
        with replay.run():
            gradients.append(criterion.gradient_of_terms(model, inputs, target, engine=engine))
    narrow_gradients, wide_gradients = gradients
    return by_doubling(narrow_gradients, wide_gradients, order)


def by_doubling(narrow: Sequence[Tensor], wide: Sequence[Tensor], order: int) -> float:
    """The error of the first, a gradient by differences of that order, from one at twice the step; 0 where there is no gradient."""
    off = sum(float((in_float64(b) - in_float64(a)).square().sum()) for a, b in zip(narrow, wide, strict=True))
    size = sum(float(in_float64(a).square().sum()) for a in narrow)
    return (off / size) ** 0.5 / (2**order - 1) ** 0.5 if size else 0.0


def parameter_gradient(forward: ForwardPass, linearization: Linearization, v: Cotangents) -> list[Tensor]:
    """∂⟨v, g⟩/∂θ by a linearization, one pass at a time: the graph of each is let go before the next is made. Sets no ``.grad``."""
    parameters = [parameter for parameter in forward.model.parameters() if parameter.requires_grad]
    totals = [torch.zeros_like(parameter) for parameter in parameters]

    def add(number: int, part: Tensor) -> None:
        totals[number] += part

    passes = linearization.extra_passes(v, 0.0) if linearization.extra_passes else ()
    for share in chain([linearization.same_pass(v)] if linearization.same_pass else [], passes):
        if not isinstance(share, Tensor) or not share.requires_grad:
            continue
        with without_gradient_hooks(parameters), without_accumulation_hooks(parameters), forward.placement.unnoticed_backward():
            if forward.reentrant:
                for number, part in enumerate(gradients_by_backward(share, parameters, forward.model)):
                    if part is not None:
                        add(number, part)
                continue
            with handed_over(parameters, add, [share]):
                torch.autograd.grad(share, parameters, allow_unused=True, retain_graph=linearization.same_pass is not None)
    return totals
