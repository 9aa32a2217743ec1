"""One call of a torch function, its derivatives by torch alone and with ours in place: value, input gradient, and the gradients of ⟨v, g⟩ + ⟨c, y⟩."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from inputgrad.derivatives import Phase, SecondDerivatives
from inputgrad.derivatives.swap import SUBSTITUTES

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Found:
    """value, g of the inputs, and the gradients of ⟨v, g⟩ + ⟨c, y⟩ in every tensor (None where there is none)."""

    value: Tensor
    gradient: tuple[Tensor, ...]
    second: tuple[Tensor | None, ...]

    @property
    def all(self) -> tuple[Tensor | None, ...]:
        return (self.value, *self.gradient, *self.second)


def derivatives(function: Function, tensors: Sequence[Tensor], inputs: int = 1, *, ours: bool = True, declared: bool = True) -> Found:
    """Of ``function(*tensors)``; the first ``inputs`` of them are the variables, the rest leaves. declared: within ``phase.input_gradient()``."""
    phase = Phase()
    tensors = [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in tensors]
    variables = [tensor.view_as(tensor) for tensor in tensors[:inputs]]
    mode: AbstractContextManager[Any] = SecondDerivatives(phase) if ours else nullcontext()
    with sdpa_kernel(SDPBackend.MATH) if not ours else nullcontext():
        with mode:
            value = function(*variables, *tensors[inputs:])
        fixed = _fixed(value)
        with phase.input_gradient() if declared else nullcontext():
            gradient = torch.autograd.grad(value, variables, fixed, create_graph=True)
        total = torch.stack([(g * _fixed(g)).sum() for g in gradient]).sum() + (value * fixed).sum()
        second = torch.autograd.grad(total, [t for t in tensors if t.requires_grad], allow_unused=True)
    return Found(value.detach(), tuple(g.detach() for g in gradient), second)


def _fixed(like: Tensor) -> Tensor:
    return torch.linspace(-1.3, 1.7, like.numel(), dtype=like.dtype, device=like.device).cos().mul(3).sin().reshape(like.shape)


def off(found: Found, expected: Found) -> float:
    """The largest relative difference; None and zeros are the same."""
    worst = 0.0
    for a, b in zip(found.all, expected.all, strict=True):
        if b is None and a is None:
            continue
        a, b = (torch.zeros_like(other) if part is None else part for part, other in ((a, b), (b, a)))
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        scale = max(b.abs().max().item(), 1e-3)
        worst = max(worst, (a - b).abs().max().item() / scale)
    return worst


def difference(function: Function, tensors: Sequence[Tensor], inputs: int = 1, **settings: Any) -> float:
    """Between ours and torch's own. Asserts that ours was in place."""
    expected = derivatives(function, tensors, inputs, ours=False)
    assert substituted(function, *tensors), "the call fell through to torch's own"
    return off(derivatives(function, tensors, inputs, **settings), expected)


def substituted(function: Function, *tensors: Tensor) -> bool:
    """Whether the call is served by ours."""
    seen: list[bool] = []
    kept = dict(SUBSTITUTES)
    try:
        for func, substitute in kept.items():
            SUBSTITUTES[func] = _watched(substitute, seen)
        with SecondDerivatives(Phase()):
            function(*[tensor.detach().clone().requires_grad_(tensor.is_floating_point()).view_as(tensor) for tensor in tensors])
    finally:
        SUBSTITUTES.update(kept)
    return any(seen)


def _watched(substitute: Callable[..., Any], seen: list[bool]) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        result = substitute(*args, **kwargs)
        seen.append(result is not NotImplemented)
        return result

    return watched
