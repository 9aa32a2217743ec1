"""Second derivatives in the input through custom Functions: a backward that is cut is refused where the operator's value would be another one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig


class Saved(torch.autograd.Function):
    """tanh², whose backward uses an intermediate result that the forward has saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y * y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return 2 * g * y * (1 - y * y)


class WithoutGraph(torch.autograd.Function):
    """sin, whose backward runs under no_grad."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        with torch.no_grad():
            return g * ctx.saved_tensors[0].cos()


class Right(torch.autograd.Function):
    """tanh by its output, which may be saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class Through(torch.autograd.Function):
    """Rounding, straight through: its first derivative is none of the value's, on purpose."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return (4 * x).round() / 4

    @staticmethod
    def backward(_ctx: Any, g: Tensor) -> Tensor:
        return g


class Between(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.function, self.last = nn.Linear(2, 6), function, nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)).sin())


def residual(model: nn.Module, x: Tensor) -> Tensor:
    loss: Tensor = ig.InputGradientLoss(None, ig.Residual(lambda u: u.laplacian(), names="xy"), verify=False)(model, x)
    return loss


OPERATORS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "laplacian": ig.laplacian,
    "hessian_vector": lambda model, x: ig.hessian_vector(model, x, torch.ones(2)),
    "field": lambda model, x: ig.field(model, x, names="xy").d("xx"),
    "residual": residual,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_backward_that_is_cut_is_refused_and_a_right_one_is_not(operator: str, dtype: torch.dtype) -> None:
    x = torch.randn(5, 2, dtype=dtype)
    for function in (Saved, WithoutGraph):
        with pytest.raises(ig.EngineError, match=f"the second derivative of Between in its inputs is wrong.* autograd.Function {function.__name__}"):
            OPERATORS[operator](Between(function.apply).to(dtype), x)
    for model in (Between(Right.apply), Between(Through.apply), Between(torch.tanh)):
        OPERATORS[operator](model.to(dtype), x)


def test_a_first_derivative_asks_for_no_second_one() -> None:
    x = torch.randn(5, 2)
    assert ig.jacobian(Between(Saved.apply), x).shape == (5, 1, 2)
    assert ig.field(Between(Saved.apply), x, names="xy").d("x").shape == (5,)


def test_a_model_that_writes_over_its_graph_is_refused_in_plain_words() -> None:
    model = Between(lambda h: h.exp_().mul_(2).sigmoid_() * h)
    with pytest.raises(ValueError, match="writes in place on a tensor that its own derivative needs"):
        ig.laplacian(model, torch.randn(5, 2))


def test_a_residual_that_is_constant_may_be_differentiated() -> None:
    """A Laplacian of a linear model that has no rule in Taylor arithmetic: there is no graph, and the user's loop calls backward() all the same."""
    model = Between(lambda h: torch.view_as_real(torch.view_as_complex(h.view(-1, 3, 2)) * 1j).flatten(1))
    model.forward = lambda x: model.last(model.function(model.first(x)))
    with pytest.warns(UserWarning, match="the second derivative of Between in its input is zero wherever it exists"):
        loss = residual(model, torch.randn(5, 2))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
