"""Watches the transforms of torch.func: a gradient that `grad`, `jacrev`, `jacfwd` or `hessian` gives, mapped over samples or not. Knows no other probe.

One of the variable's own shape is followed as any other, with its graph or without; a Jacobian or Hessian is where it carries no graph. What a transform gives
inside another is seen at the outermost. `vjp` asks `autograd.grad` for its gradient, which is watched already.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from inputgrad.audit.call_sites import inside_library
from inputgrad.audit.probes.call_arguments import flat
from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import inside_transform, without_torch_function

DERIVATIVES = ("grad", "grad_and_value", "jacrev", "jacfwd", "hessian")
_MAPS = ("vmap",)


class _Derivative(NamedTuple):
    """What a derivative says of its call: the positions it is taken by, and whether more than gradients comes back."""

    by: tuple[int, ...]
    paired: bool


class TorchFuncProbe:
    """Follows the transforms of one run. on_gradient: called with the transform's name, the variable, and its gradient."""

    def __init__(self, recorder: Recorder, on_gradient: Callable[[str, Tensor, Tensor], None]) -> None:
        self._recorder, self._on_gradient = recorder, on_gradient
        self._derived: list[str] = []
        """Of the derivatives that were taken inside the transform that is at work."""

    def patches(self) -> list[Patch]:
        places = [(torch.func, name) for name in (*DERIVATIVES, *_MAPS)] + [(torch, "vmap")]
        return [Patch(module, name, functools.partial(self._transform, name)) for module, name in places]

    def _transform(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def transform(function: Any, *settings: Any, **named: Any) -> Any:
            made = original(function, *settings, **named)
            derivative = _derivative(name, settings, named) if name in DERIVATIVES else _made_by_one(function)

            @functools.wraps(made)
            def call(*args: Any, **kwargs: Any) -> Any:
                outermost = not inside_transform()
                if outermost:
                    self._derived.clear()
                result = made(*args, **kwargs)
                if name in DERIVATIVES:
                    self._derived.append(name)
                if outermost and self._derived and self._recorder.watching and not inside_library():
                    with without_torch_function():  # what is looked at here is no use of the user's
                        self._record(derivative, args, result)
                return result

            call._derivative = (id(call), derivative)  # type: ignore[attr-defined]  # for vmap(grad(f)), which differentiates by what grad(f) does
            return call

        return transform

    def _record(self, derivative: _Derivative | None, args: tuple[Any, ...], result: Any) -> None:
        """The gradients among the results, each by a tensor that is no weight."""
        for variable, gradient in _by_position(derivative, args, result) if derivative is not None else self._by_shape(args, result):
            if self._is_gradient(variable, gradient):
                self._on_gradient(self._derived[-1], variable, gradient)

    def _by_shape(self, args: tuple[Any, ...], result: Any) -> list[tuple[Any, Any]]:
        """A derivative inside a function that was mapped: the one result is taken for the gradient by the first argument that it fits."""
        return [(value, result) for value in flat(args) if self._is_gradient(value, result)][:1]

    def _is_gradient(self, variable: Any, gradient: Any) -> bool:
        if (
            not all(isinstance(value, Tensor) and value.is_floating_point() for value in (variable, gradient))
            or not variable.dim()
            or self._is_trained(variable)
        ):
            return False
        if gradient.shape == variable.shape:
            return True
        jacobian = gradient.shape[-variable.dim() :] == variable.shape or (gradient.dim() > variable.dim() and gradient.shape[0] == variable.shape[0])
        return jacobian and not gradient.requires_grad

    def _is_trained(self, value: Tensor) -> bool:
        """Whether it is a weight, or one detached: the same memory."""
        ownership = self._recorder.ownership
        return ownership.is_weight(value) or any(_memory(value) == _memory(known) for known in ownership.parameters())


def _derivative(name: str, settings: tuple[Any, ...], named: dict[str, Any]) -> _Derivative:
    by = named.get("argnums", settings[0] if settings else 0)
    return _Derivative(by if isinstance(by, tuple) else (by,), name == "grad_and_value" or bool(named.get("has_aux", settings[1:2] == (True,))))


def _made_by_one(function: Any) -> _Derivative | None:
    """What a derivative said of the function that it made; not of one that only took over its attributes, as `functools.wraps` does."""
    made, derivative = getattr(function, "_derivative", (None, None))
    return derivative if made == id(function) else None


def _by_position(derivative: _Derivative, args: tuple[Any, ...], result: Any) -> list[tuple[Any, Any]]:
    """Which result is the gradient by which argument, where both are known: the results are nested as the arguments are."""
    variables = list(flat([args[position] for position in derivative.by if -len(args) <= position < len(args)]))
    gradients = list(flat(result[0] if derivative.paired else result))
    return list(zip(variables, gradients, strict=True)) if len(variables) == len(gradients) else []


def _memory(value: Tensor) -> tuple[torch.device, int]:
    try:
        return value.device, value.data_ptr()
    except RuntimeError:  # a tensor without memory of its own
        return value.device, -id(value)
