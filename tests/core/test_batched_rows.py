"""The rows of a Jacobian in one backward pass: the same values and parameter gradients, and row by row where that is not to be had."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import operators
from inputgrad.passes import batched_rows as rows


class Twice(torch.autograd.Function):
    """A custom Function: its backward pass is Python."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Tensor:
        assert g[0].dim() == 2  # one row at a time
        return 2 * g[0]


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Twice.apply(x)


class Looking(nn.Module):
    """A hook that looks at a number, which no batched pass allows."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.sin()
        y.register_hook(lambda g: g * 2 if g.sum().item() > float("inf") else g)
        return y


def network(middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.SiLU(), middle, nn.LayerNorm(8), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)).double()


MIDDLE = {"plain": nn.Identity, "dropout": nn.Dropout, "softmax": lambda: nn.Softmax(1), "custom function": Custom, "hook": Looking}
X, Y = (torch.randn(6, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for n in (5, 4))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of `batched_rows` gave them."""
    made, real = [], rows.batched_rows

    def counted(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        made.append(found is not None)
        return found

    from inputgrad.operators import differentiation
    from inputgrad.step import plain_gradient

    for module in (differentiation, plain_gradient):
        monkeypatch.setattr(module, "batched_rows", counted)
    return made


@pytest.mark.filterwarnings("ignore:.*changes gradients on purpose.*")
@pytest.mark.parametrize("kind", MIDDLE)
def test_a_jacobian_and_its_parameter_gradient(kind: str, calls: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = network(MIDDLE[kind]()), []
    for least in (3, 100):
        monkeypatch.setattr(rows, "LEAST", least)
        torch.manual_seed(3)
        jacobian = operators.jacobian(model, X)
        parameters = list(model.parameters())
        found.append([jacobian, *torch.autograd.grad(jacobian.square().sum(), parameters, allow_unused=True, materialize_grads=True)])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-13)
    assert calls == [kind not in ("custom function", "hook"), False]


@pytest.mark.parametrize("kind", ["plain", "dropout", "softmax", "custom function", "hook"])
def test_a_step_on_each_output(kind: str, calls: list[bool]) -> None:
    """The first one in full, row by row; the second one plainly."""
    model, steps = network(MIDDLE[kind]()), []
    criterion = ig.InputGradientLoss("mse", 0.3 * ig.GradientNorm(of=ig.heads.EachOutput(), power=2))
    for _ in range(2):
        model.zero_grad()
        torch.manual_seed(3)
        criterion.backward(model, X, Y)
        steps.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*steps, rtol=1e-12, atol=1e-13)
    assert calls == [kind not in ("custom function", "hook")]
