"""The transforms of torch.func: a gradient that `grad`, `jacrev`, `jacfwd` or `hessian` gives, mapped over samples or not, and that carries no graph.

One that carries a graph is not followed further. What a transform gives inside another is seen at the outermost.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.audit.sites import ours
from inputgrad.audit.values import flat

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch

DERIVATIVES = ("grad", "jacrev", "jacfwd", "hessian")
_MAPS = ("vmap",)


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

        @functools.wraps(made)
        def call(*args: Any, **kwargs: Any) -> Any:
            outermost = torch._C._functorch.maybe_current_level() is None
            if outermost:
                derived.clear()
            result = made(*args, **kwargs)
            if name in DERIVATIVES:
                derived.append(name)
            if outermost and derived and watch.watching and not ours():
                _tell(watch, derived[-1], args, result)
            return result

        return call

    return transform


def _tell(watch: Watch, name: str, args: Any, result: Any) -> None:
    """A gradient by a tensor that is no weight: of its shape, or with the outputs' before it."""
    if not isinstance(result, Tensor) or result.requires_grad or not result.is_floating_point():
        return
    variable = next((value for value in flat(args) if _taken_by(watch, value, result)), None)
    if variable is not None:
        watch.gradients.transformed(name, variable, result)


def _taken_by(watch: Watch, value: Any, result: Tensor) -> bool:
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.dim() or watch.contributions.is_weight(value):
        return False
    return result.shape[-value.dim() :] == value.shape or (result.dim() > value.dim() and result.shape[0] == value.shape[0])
