"""Functions far apart and at zero: torch's value, derivatives that are the limit's and never NaN; elsewhere nothing but torch's own."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from tests.derivatives.against_torch import derivatives

INF = math.inf
Function = Callable[[Tensor, Tensor], Tensor]
FAR = [(0.0, 200.0), (200.0, 0.0), (0.0, 1e4), (-INF, 1.5), (1.5, -INF), (3.0, 3.0), (0.3, -0.2)]
CASES: dict[str, tuple[Function, list[tuple[float, float]]]] = {
    "logaddexp": (torch.logaddexp, FAR),
    "logaddexp_method": (lambda a, b: a.logaddexp(b), FAR),
    "logaddexp2": (torch.logaddexp2, FAR),
    "mish": (lambda x, _: F.mish(x), [(200.0, 0.0), (1e4, 0.0), (39.0, 0.0), (0.5, 0.0), (-200.0, 0.0)]),
    "pow": (torch.pow, [(0.0, 2.0), (0.0, 3.5), (2.0, 0.0), (1.5, 2.5)]),
    "operator": (lambda x, y: x**y, [(0.0, 2.0), (1.5, 2.5)]),
    "of_number": (lambda x, y: 0**y + 2**x, [(0.5, 2.0), (1.5, 2.5)]),
    "float_power": (torch.float_power, [(0.0, 2.0), (1.5, 2.5)]),
    "atan2": (torch.atan2, [(0.0, 0.0), (1.0, 2.0), (0.0, -1.0)]),
    "copysign": (torch.copysign, [(0.0, -1.0), (2.0, -1.0)]),
}


def of(name: str, dtype: torch.dtype = torch.float32) -> tuple[Function, list[Tensor]]:
    function, points = CASES[name]
    return function, list(torch.tensor(points, dtype=dtype).T.contiguous())


@pytest.mark.parametrize("name", CASES)
def test_no_derivative_is_nan_where_the_first_is_none(name: str) -> None:
    function, tensors = of(name)
    found = derivatives(function, tensors, inputs=2) if name != "mish" else derivatives(lambda x: function(x, x), tensors[:1])
    assert torch.equal(found.value, function(*tensors))
    assert all(part is None or part.isfinite().all() for part in found.all)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("logaddexp", "mish"))])
def test_second_derivatives_far_apart_are_those_of_float64(name: str) -> None:
    """float64 has no overflow there; an infinite argument, where it has, is put at a distance of 300."""
    function, tensors = of(name)
    near = [x.double().clamp(-300, 300) for x in tensors]
    ours, plain = second(function, tensors), plainly(function, near)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if name != "of_number"])  # which has no elsewhere
def test_elsewhere_they_are_torchs(name: str) -> None:
    function, points = CASES[name]
    tensors = list(torch.tensor(points[-1:], dtype=torch.float64).T.contiguous())
    beside = [torch.cat([x, y]) for x, y in zip(tensors, of(name, torch.float64)[1], strict=True)]
    for one, other in zip(second(function, beside), plainly(function, tensors), strict=True):
        torch.testing.assert_close(one[:1], other)


def test_a_power_of_zero_keeps_its_derivatives_in_the_base() -> None:
    zero, exponent = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.0, 2.0))
    with SecondDerivatives(BackwardTarget()):
        value = zero**exponent
    (first,) = torch.autograd.grad(value, zero, create_graph=True)
    in_base, in_exponent = torch.autograd.grad(first, (zero, exponent))
    assert [part.item() for part in (first, in_base, in_exponent)] == [0.0, 2.0, 0.0]


def second(function: Function, tensors: list[Tensor], *, ours: bool = True) -> list[Tensor]:
    """Every entry of the Hessian that is there, one for each pair of arguments."""
    leaves = [x.clone().requires_grad_() for x in tensors]
    if ours:
        with SecondDerivatives(BackwardTarget()):
            value = function(*leaves)
    else:
        value = function(*leaves)
    ones = torch.ones_like(value)
    firsts = torch.autograd.grad(value, leaves, ones, create_graph=True, materialize_grads=True, allow_unused=True)
    return [
        part
        for first in firsts
        if first.requires_grad
        for part in torch.autograd.grad(first, leaves, torch.ones_like(first), retain_graph=True, materialize_grads=True, allow_unused=True)
    ]


def plainly(function: Function, tensors: list[Tensor]) -> list[Tensor]:
    return second(function, tensors, ours=False)


def test_the_derivative_of_a_matrix_exponential_is_as_exact_for_large_gradients() -> None:
    a, g = torch.randn(2, 5, 5, dtype=torch.float64).requires_grad_(), torch.randn(2, 5, 5, dtype=torch.float64)
    with SecondDerivatives(BackwardTarget()):
        value = torch.linalg.matrix_exp(a)
    one, large = (torch.autograd.grad(value, a, size * g, retain_graph=True)[0] / size for size in (1.0, 1e9))
    torch.testing.assert_close(large, one, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one, torch.autograd.grad(torch.linalg.matrix_exp(a), a, g)[0])
    assert torch.autograd.gradgradcheck(_exponential, a)


def _exponential(a: Tensor) -> Tensor:
    with SecondDerivatives(BackwardTarget()):
        return torch.linalg.matrix_exp(a)
