"""What a model computes as a constant, to which no derivative goes: ``detach``, ``.data``, and everything under ``torch.no_grad()``.

Autograd passes it by. A displaced pass computes it anew at another input, and forward mode carries a tangent through ``no_grad`` and ``.data``: both are then
the derivative of another function. So differences read its values at x from the tape, or object, and forward mode drops its tangent.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import switches_gradients
from inputgrad.torch_internals.functorch import is_transformed

DETACHING = {torch.detach, Tensor.detach, Tensor.data.__get__}  # type: ignore[attr-defined]  # the stubs do not know the descriptor


class NoGradRegion:
    """Whether the model has entered ``torch.no_grad()`` itself. The forward of a custom Function, which torch runs without gradients, is no such region."""

    def __init__(self) -> None:
        self.inside = False

    def follow(self, func: Any, args: tuple[Any, ...]) -> None:
        """To be called before each function runs."""
        if switches_gradients(func):
            self.inside = not args[0] and (self.inside or torch.is_grad_enabled())


class ConstantsWithoutTangent(TorchFunctionMode):
    """While active, inside ``torch.func.jvp``, constants carry no tangent."""

    def __init__(self) -> None:
        super().__init__()
        self._region = NoGradRegion()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        self._region.follow(func, args)
        result = func(*args, **(kwargs or {}))
        if self._region.inside or func in DETACHING:
            return pytree.map_only(Tensor, _without_tangent, result)
        return result


def _without_tangent(tensor: Tensor) -> Tensor:
    return tensor.detach() if is_transformed(tensor) else tensor
