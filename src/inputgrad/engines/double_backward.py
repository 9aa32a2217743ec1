"""Double backward: the input gradient with its own graph (``create_graph=True``). Exact, eager, any term.

Needs every operation of the model to have a second derivative. Whether it has is tried once for each model and shape of the inputs, so that the error
is raised here, with the operation's name, and not in the user's ``loss.backward()``.
"""

import re
import weakref
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from inputgrad.engines.base import Engine, Linearization, Traits, input_gradient
from inputgrad.engines.forward import ForwardPass
from inputgrad.errors import EngineError
from inputgrad.heads import Score
from inputgrad.places import Key

_PROVEN: weakref.WeakKeyDictionary[nn.Module, set[Any]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class DoubleBackward(Engine):
    """⟨v, g⟩ with g = ``autograd.grad(s.sum(), z, create_graph=True)``, differentiated by autograd (Drucker & LeCun 1992)."""

    name: ClassVar[str] = "double_backward"
    traits: ClassVar[Traits] = Traits(exact=True, needs="a second derivative for every operation of the model")

    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        forward.here()  # an error of the model's own forward pass stays its own
        try:
            gradient = input_gradient(forward, score, wrt, create_graph=True)
            _prove(forward, gradient)
        except RuntimeError as error:
            raise EngineError(_explained(error, forward.model)) from error

        def along(cotangents: tuple[Tensor, ...]) -> Tensor:
            return sum_of_products(cotangents, gradient)

        return Linearization(tuple(part.detach() for part in gradient), along)


def sum_of_products(cotangents: tuple[Tensor, ...], gradient: tuple[Tensor, ...]) -> Tensor:
    """⟨v, g⟩ over all variables."""
    return torch.stack([(v * g).sum() for v, g in zip(cotangents, gradient, strict=True)]).sum()


def _prove(forward: ForwardPass, gradient: tuple[Tensor, ...]) -> None:
    """Differentiate once more, for nothing: the first time that this model is seen with inputs of these shapes."""
    shapes = tuple((key, tuple(z.shape[1:]), z.dtype) for key, z in forward.inputs.tensors())
    seen = _PROVEN.setdefault(forward.model, set())
    signature = (shapes, forward.wrt, forward.model.training)
    parameters = [p for p in forward.model.parameters() if p.requires_grad]
    differentiable = [part for part in gradient if part.requires_grad]
    if signature in seen or not differentiable or not parameters:
        return
    torch.autograd.grad([part.sum() for part in differentiable], parameters, retain_graph=True, allow_unused=True)
    seen.add(signature)


_OPERATION = re.compile(r"derivative (?:for|of) '?(?:aten::|torch::)?(\w+)'?|(\w+Backward\w*)|(once_differentiable)|(torch\.compile)")


def _explained(error: RuntimeError, model: nn.Module) -> str:
    message = str(error).strip()
    first_line = message.splitlines()[0] if message else type(error).__name__
    match = _OPERATION.search(message)
    operation = next(filter(None, match.groups()), "an operation") if match else "an operation"
    return f"engine 'double_backward' cannot differentiate {type(model).__name__} twice: {operation} has no second derivative here (torch: {first_line!r})."
