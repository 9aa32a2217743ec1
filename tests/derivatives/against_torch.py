"""One call of a torch function, its derivatives by torch alone and with ours in place: value, input gradient, and the gradients of ⟨v, g⟩ + s,
for a score s of the value."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from inputgrad.derivatives.substitution import SUBSTITUTES
from inputgrad.derivatives.twice_differentiable import Operation

Function = Callable[..., Tensor]
EXACT = 1e-12


@dataclass(frozen=True)
class Found:
    """value, g of the inputs, and the gradients of ⟨v, g⟩ + s in every tensor (None where there is none)."""

    value: Tensor
    gradient: tuple[Tensor, ...]
    second: tuple[Tensor | None, ...]

    @property
    def all(self) -> tuple[Tensor | None, ...]:
        return (self.value, *self.gradient, *self.second)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def derivatives(function: Function, tensors: Sequence[Tensor], inputs: int = 1, *, ours: bool = True, declared: bool = True) -> Found:
    """Of ``function(*tensors)``; the first ``inputs`` of them are the variables, the rest leaves. declared: within ``phase.input_gradient()``."""
    phase = BackwardTarget()
    tensors = [leaf(tensor) for tensor in tensors]
    variables = [tensor.view_as(tensor) for tensor in tensors[:inputs]]
    mode: AbstractContextManager[Any] = SecondDerivatives(phase) if ours else nullcontext()
    with sdpa_kernel(SDPBackend.MATH) if not ours else nullcontext():
        with mode:
            value = function(*variables, *tensors[inputs:])
        with phase.input_gradient() if declared else nullcontext():
            gradient = torch.autograd.grad(score(value), variables, create_graph=True)
        total = torch.stack([(g * fixed(g)).sum() for g in gradient]).sum() + score(value)
        second = torch.autograd.grad(total, [t for t in tensors if t.requires_grad], allow_unused=True)
    return Found(value.detach(), tuple(g.detach() for g in gradient), second)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def score(value: Tensor) -> Tensor:
    """A scalar whose gradient in ``value`` depends on it, so that the second derivative goes on through the gradient too."""
    return (fixed(value) * value.sin()).sum()


def fixed(like: Tensor) -> Tensor:
    """Cotangents that depend on the shape alone."""
    return torch.linspace(-1.3, 1.7, like.numel(), dtype=like.dtype, device=like.device).cos().mul(30).sin().reshape(like.shape)


def off(found: Found, expected: Found) -> float:
    """The largest relative difference; None and zeros are the same."""
    assert len(found.all) == len(expected.all)
    worst = 0.0
    for a, b in zip(found.all, expected.all, strict=True):
        if a is None and b is None:
            continue
        one = torch.zeros_like(b) if a is None else a
        other = torch.zeros_like(one) if b is None else b
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        worst = max(worst, (one - other).abs().max().item() / max(other.abs().max().item(), 1e-3))
    return worst


def difference(function: Function, tensors: Sequence[Tensor], inputs: int = 1, **settings: Any) -> float:
    """Between ours and torch's own. Asserts that ours was in place."""
    assert substituted(function, *tensors), "the call fell through to torch's own"
    return off(derivatives(function, tensors, inputs, **settings), derivatives(function, tensors, inputs, ours=False))


def substituted(function: Function, *tensors: Tensor) -> bool:
    """Whether the call is served by ours."""
    seen: list[bool] = []
    kept = dict(SUBSTITUTES)
    try:
        for func, substitute in kept.items():
            SUBSTITUTES[func] = _watched(substitute, seen)
        with SecondDerivatives(BackwardTarget()):
            function(*[leaf(tensor).view_as(tensor) for tensor in tensors])
    finally:
        SUBSTITUTES.update(kept)
    return any(seen)


def _watched(substitute: Callable[..., Any], seen: list[bool]) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        result = substitute(*args, **kwargs)
        seen.append(result is not NotImplemented)
        return result

    return watched


def second_derivative_off(operation: Operation, which: int) -> Operation:
    """The operation with one gradient of its second derivative (0: in gy, then its tensors) too large by a tenth: a canary."""

    def second(*args: Any) -> tuple[Any, ...]:
        return tuple(1.1 * part if i == which and part is not None else part for i, part in enumerate(operation.second(*args)))

    return replace(operation, second=second)


def second_gradient(function: Function, v: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Tensors -> ⟨v, g⟩ by ours, as a function that `torch.autograd.gradcheck` can difference: g of the first ``len(v)`` of them."""

    def scalar(*tensors: Tensor) -> Tensor:
        phase = BackwardTarget()
        variables = [tensor.view_as(tensor) for tensor in tensors[: len(v)]]
        with SecondDerivatives(phase):
            value = function(*variables, *tensors[len(v) :])
        with phase.input_gradient():
            gradient = torch.autograd.grad(score(value), variables, create_graph=True)
        return torch.stack([(a * b).sum() for a, b in zip(v, gradient, strict=True)]).sum()

    return scalar


def agrees_with_differences(function: Function, tensors: Sequence[Tensor], inputs: int = 1) -> bool:
    """Whether the gradient of ⟨v, g⟩ is what finite differences of it give, in every tensor."""
    leaves = [leaf(tensor) for tensor in tensors]
    return torch.autograd.gradcheck(second_gradient(function, [fixed(t) for t in leaves[:inputs]]), leaves)


def misfit(value: Callable[[], Tensor], parameters: Sequence[Tensor], step: float = 1e-6) -> float:
    """How far the value's gradient is from its central difference along one random direction, relative."""
    directions = [torch.randn_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(value(), parameters, allow_unused=True)
    gradient = sum(float((part * d).sum().detach()) for part, d in zip(found, directions, strict=True) if part is not None)

    def at(t: float) -> float:
        with torch.no_grad():
            for parameter, d in zip(parameters, directions, strict=True):
                parameter.add_(d, alpha=t)
        here = float(value().detach())
        with torch.no_grad():
            for parameter, d in zip(parameters, directions, strict=True):
                parameter.sub_(d, alpha=t)
        return here

    difference = (at(step) - at(-step)) / (2 * step)
    return abs(gradient - difference) / abs(difference)
