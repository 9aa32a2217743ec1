"""What a model computes as a constant, to which no derivative goes: ``detach``, ``.data``, and everything under ``torch.no_grad()``.

Autograd passes it by. A displaced pass computes it anew at another input, and forward mode carries a tangent through ``no_grad`` and ``.data``: both are then
the derivative of another function. So differences read its values at x from the tape, or object, and forward mode drops its tangent.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from inputgrad.errors import EngineError
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import switches_gradients, writes_to
from inputgrad.torch_internals.functorch import is_transformed

DETACHING = {torch.detach, Tensor.detach, Tensor.data.__get__}  # type: ignore[attr-defined]  # the stubs do not know the descriptor

_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]  # a descriptor of C, declared as a Tensor


class NoGradRegion:
    """Whether the model has entered ``torch.no_grad()`` itself. The forward of a custom Function, which torch runs without gradients, is no such region."""

    def __init__(self) -> None:
        self._inside = False
        self._before: list[tuple[bool, bool]] = []
        """For each switch that is not taken back: whether gradients were made before it, and whether that was inside."""

    @property
    def inside(self) -> bool:
        return self._inside and not torch.is_grad_enabled()

    @property
    def in_function(self) -> bool:
        """Whether the forward of a custom Function runs, also where it has turned gradients on for itself."""
        return (not self._inside and not torch.is_grad_enabled()) or (False, False) in self._before

    def follow(self, func: Any, args: tuple[Any, ...]) -> None:
        """To be called before each function runs."""
        if not switches_gradients(func):
            return
        if self._before and self._before[-1][0] == args[0]:  # taken back, as ``with`` does
            self._inside = self._before.pop()[1]
            return
        self._before.append((torch.is_grad_enabled(), self._inside))
        self._inside = not args[0] and (self._inside or torch.is_grad_enabled())


class ConstantsWithoutTangent(TorchFunctionMode):
    """While active, inside ``torch.func.jvp``, constants carry no tangent."""

    def __init__(self) -> None:
        super().__init__()
        self._region = NoGradRegion()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        self._region.follow(func, args)
        if func == _SET_DATA and any(isinstance(value, Tensor) and is_transformed(value) for value in args):
            raise EngineError(
                "the model puts other numbers into the .data of a parameter in its forward pass, as Module.to does; torch ends the process where that is done "
                "in forward mode. Cast the module once, before training, or take engine='double_backward'"
            )
        if not self._region.inside:
            result = func(*args, **kwargs)
            return pytree.map_only(Tensor, _without_tangent, result) if func in DETACHING else result
        written = writes_to(func, args, kwargs)
        if written:
            args, kwargs = pytree.map_only(Tensor, lambda tensor: tensor if any(tensor is one for one in written) else _without_tangent(tensor), (args, kwargs))
            return func(*args, **kwargs)
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        result = func(*args, **kwargs)
        return pytree.map_only(Tensor, lambda tensor: tensor if any(tensor is value for value in given) else _without_tangent(tensor), result)


def _without_tangent(tensor: Tensor) -> Tensor:
    return tensor.detach() if is_transformed(tensor) else tensor
