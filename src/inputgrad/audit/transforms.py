"""The transforms of torch.func: a gradient that `grad`, `jacrev`, `jacfwd` or `hessian` gives, mapped over samples or not.

One of the variable's own shape is followed as any other, with its graph or without; a Jacobian or Hessian is where it carries no graph. What a transform gives
inside another is seen at the outermost. `vjp` asks `autograd.grad` for its gradient, which is watched already.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from inputgrad.audit.sites import ours
from inputgrad.audit.values import flat

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch

DERIVATIVES = ("grad", "grad_and_value", "jacrev", "jacfwd", "hessian")
_MAPS = ("vmap",)


class _Taken(NamedTuple):
    """What a derivative says of its call: its name, the positions it is taken by, and whether more than gradients comes back."""

    name: str
    by: tuple[int, ...]
    paired: bool


@contextlib.contextmanager
def listening(watch: Watch) -> Iterator[None]:
    """While it lasts, what these transforms of torch.func make tells of the gradients that it gives."""
    derived: list[str] = []
    """Of the derivatives that were taken inside the transform that is at work."""
    places = [(torch.func, name) for name in (*DERIVATIVES, *_MAPS)] + [(torch, "vmap")]
    kept = [(module, name, getattr(module, name)) for module, name in places]
    for module, name, original in kept:
        setattr(module, name, _transform(watch, name, original, derived))
    try:
        yield
    finally:
        for module, name, original in kept:
            setattr(module, name, original)


def _transform(watch: Watch, name: str, original: Callable[..., Any], derived: list[str]) -> Callable[..., Any]:
    @functools.wraps(original)
    def transform(function: Any, *settings: Any, **named: Any) -> Any:
        made = original(function, *settings, **named)
        taken = _taken(name, settings, named) if name in DERIVATIVES else _made_by_one(function)

        @functools.wraps(made)
        def call(*args: Any, **kwargs: Any) -> Any:
            outermost = torch._C._functorch.maybe_current_level() is None
            if outermost:
                derived.clear()
            result = made(*args, **kwargs)
            if name in DERIVATIVES:
                derived.append(name)
            if outermost and derived and watch.watching and not ours():
                with torch._C.DisableTorchFunction():  # what is looked at here is no use of the user's
                    _tell(watch, taken, derived[-1], args, result)
            return result

        call._derivative = (id(call), taken)  # type: ignore[attr-defined]  # for vmap(grad(f)), which differentiates by what grad(f) does
        return call

    return transform


def _taken(name: str, settings: tuple[Any, ...], named: dict[str, Any]) -> _Taken:
    by = named.get("argnums", settings[0] if settings else 0)
    return _Taken(name, by if isinstance(by, tuple) else (by,), name == "grad_and_value" or bool(named.get("has_aux", settings[1:2] == (True,))))


def _made_by_one(function: Any) -> _Taken | None:
    """What a derivative said of the function that it made; not of one that only took over its attributes, as `functools.wraps` does."""
    made, taken = getattr(function, "_derivative", (None, None))
    return taken if made == id(function) else None


def _tell(watch: Watch, taken: _Taken | None, name: str, args: tuple[Any, ...], result: Any) -> None:
    """The gradients among the results, each by a tensor that is no weight."""
    for variable, gradient in _by_position(taken, args, result) if taken is not None else _by_shape(watch, args, result):
        if _told(watch, variable, gradient):
            watch.gradients.transformed(name, variable, gradient)


def _by_position(taken: _Taken, args: tuple[Any, ...], result: Any) -> list[tuple[Any, Any]]:
    """Which result is the gradient by which argument, where both are known: the results are nested as the arguments are."""
    variables = list(flat([args[position] for position in taken.by if -len(args) <= position < len(args)]))
    gradients = list(flat(result[0] if taken.paired else result))
    return list(zip(variables, gradients, strict=True)) if len(variables) == len(gradients) else []


def _by_shape(watch: Watch, args: tuple[Any, ...], result: Any) -> list[tuple[Any, Any]]:
    """A derivative inside a function that was mapped: the one result is taken for the gradient by the first argument that it fits."""
    return [(value, result) for value in flat(args) if _told(watch, value, result)][:1]


def _told(watch: Watch, variable: Any, gradient: Any) -> bool:
    if not all(isinstance(value, Tensor) and value.is_floating_point() for value in (variable, gradient)) or not variable.dim() or _trained(watch, variable):
        return False
    if gradient.shape == variable.shape:
        return True
    jacobian = gradient.shape[-variable.dim() :] == variable.shape or (gradient.dim() > variable.dim() and gradient.shape[0] == variable.shape[0])
    return jacobian and not gradient.requires_grad


def _trained(watch: Watch, value: Tensor) -> bool:
    """Whether it is a weight, or one detached: the same memory."""
    return watch.contributions.is_weight(value) or any(_memory(value) == _memory(known) for known in watch.contributions.parameters())


def _memory(value: Tensor) -> tuple[torch.device, int]:
    try:
        return value.device, value.data_ptr()
    except RuntimeError:  # a tensor without memory of its own
        return value.device, -id(value)
