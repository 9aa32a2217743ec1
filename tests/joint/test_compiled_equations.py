"""`compiled` on differential equations: right in float64, one call of its program from the second step on, and no program of what has changed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from inputgrad.tracing.compiled_step import CompiledStep
from tests.traced import BACKEND

POINTS, EDGE = (torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) for n in (9, 4))


class LogGamma(nn.Module):
    """An operation that has no rule in Taylor arithmetic."""

    def forward(self, x: Tensor) -> Tensor:
        return (1 + x.sigmoid()).lgamma()


def network(middle: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 5), middle or nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def gradients(model: nn.Module) -> list[Tensor]:
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


def derivative(quantity: Tensor, x: Tensor, *columns: int) -> Tensor:
    for column in columns:
        quantity = torch.autograd.grad(quantity.sum(), x, create_graph=True)[0][:, column]
    return quantity


def by_hand(model: nn.Module, equation: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    x = POINTS.clone().requires_grad_()
    (equation(model(x)[:, 0], x).square().mean() + model(EDGE).square().mean()).backward()
    return gradients(model)


EQUATIONS: dict[str, tuple[Callable[[ig.Field], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "laplacian": (lambda u: u.laplacian() + u.value, lambda u, x: derivative(u, x, 0, 0) + derivative(u, x, 1, 1) + u),
    "heat": (lambda u: u.d("y") - u.value * u.d("xx"), lambda u, x: derivative(u, x, 1) - u * derivative(u, x, 0, 0)),
    "fourth order": (lambda u: u.d("xxxx") + u.d("xxyy"), lambda u, x: derivative(u, x, 0, 0, 0, 0) + derivative(u, x, 0, 0, 1, 1)),
}


def criterion_of(equation: Callable[[ig.Field], Tensor]) -> ig.InputGradientLoss:
    terms = ig.Residual(equation, names="xy") + ig.recipes.condition(1.0, value=0.0, at=ig.Given(EDGE), names="xy")
    return ig.InputGradientLoss(None, terms, engine=Compiled(backend=BACKEND))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a step calls: a program's run, or the engine."""
    made: list[str] = []
    run, take_step = CompiledStep.run, Compiled.take_step

    def ran(self: CompiledStep, *given: Any) -> Any:
        made.append("program")
        return run(self, *given)

    def taken(self: Compiled, request: Any) -> Any:
        made.append("engine")
        return take_step(self, request)

    monkeypatch.setattr(CompiledStep, "run", ran)
    monkeypatch.setattr(Compiled, "take_step", taken)
    return made


@pytest.mark.parametrize(("name", "middle"), [*((name, nn.Tanh) for name in EQUATIONS), ("laplacian", LogGamma)])
def test_a_step_is_right_and_one_call(name: str, middle: Callable[[], nn.Module], calls: list[str]) -> None:
    ours, reference = EQUATIONS[name]
    model, criterion = network(middle()), criterion_of(ours)
    expected = by_hand(model, reference)
    for step in range(3):
        calls.clear()
        criterion.backward(model, POINTS)
        torch.testing.assert_close(gradients(model), expected, rtol=1e-10, atol=1e-13)
        assert step == 0 or calls == ["program"]
    criterion(model, POINTS).backward()
    torch.testing.assert_close(gradients(model), expected, rtol=1e-10, atol=1e-13)


def test_the_program_carries_taylor_coefficients() -> None:
    model = network()
    criterion_of(EQUATIONS["laplacian"][0]).backward(model, POINTS)
    known = ig.operators.how_computed(model)
    assert known
    assert all(how == "Taylor arithmetic" for how in known.values())


def test_a_number_that_the_equation_names_may_change() -> None:
    viscosity = 0.5

    def equation(u: ig.Field) -> Tensor:
        return u.d("y") - viscosity * u.d("xx")

    def expected() -> list[Tensor]:
        return by_hand(model, lambda u, x: derivative(u, x, 1) - viscosity * derivative(u, x, 0, 0))

    model, criterion = network(), criterion_of(equation)
    for number in (0.5, 0.5, 2.0, 2.0):
        viscosity = number
        criterion.backward(model, POINTS)
        torch.testing.assert_close(gradients(model), expected(), rtol=1e-10, atol=1e-13)
