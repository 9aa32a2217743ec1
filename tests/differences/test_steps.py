"""How far differences go: the step is measured by what is finite in the input, and made finer where the model bends within it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import FiniteDifference
from inputgrad.engines.finite_difference import Scheme
from inputgrad.memory import memory
from tests.differences.by_value import off_from_value


class Masked(nn.Module):
    """Attention scores, some of them −∞, weighted among those that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.values = nn.Parameter(torch.rand(4).double() + 0.5), nn.Parameter(torch.randn(4).double())

    def forward(self, scores: Tensor) -> Tensor:
        there = scores.isfinite()
        return (torch.where(there, self.scale * torch.where(there, scores, 0), scores).softmax(1) * self.values).sum(1, keepdim=True)


@pytest.mark.parametrize("scheme", ["central", "one_sided", "richardson"])
def test_an_infinite_input_leaves_the_step_as_it_is(scheme: Scheme) -> None:
    x = torch.tensor([[1.0, -math.inf, 0.3, 2.0], [-math.inf, 0.5, 1.0, -math.inf]], dtype=torch.float64)
    assert off_from_value(Masked(), x, engine=FiniteDifference(scheme=scheme)) < 1e-4


class Wave(nn.Module):
    """sin(f·x): curved by f² in units of the input."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency, self.weight = nn.Parameter(torch.tensor(frequency).double()), nn.Parameter(torch.rand(3).double() + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.frequency * x) @ self.weight[:, None]


def off_from_exact(model: nn.Module, x: Tensor, engine: Any) -> float:
    """Against double backward, which has sin's derivatives to the last digits; differences of the value are too coarse here."""
    gradients = []
    for one in ("double_backward", engine):
        model.zero_grad()
        ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine=one)(model, x).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]))
    return float((gradients[1] - gradients[0]).norm() / gradients[0].norm())


@pytest.mark.parametrize("frequency", [1e4, 1e5])
def test_a_step_is_made_finer_where_the_model_bends_within_it(frequency: float) -> None:
    torch.manual_seed(0)
    model, x = Wave(frequency), torch.rand(4, 3, dtype=torch.float64) + 1
    assert off_from_exact(model, x, "finite_difference") < 1e-5
    assert off_from_exact(model, x, FiniteDifference(step=3e-6)) > 3e-4  # one that was given is kept


def test_a_model_that_does_not_bend_keeps_the_step() -> None:
    model, x = Wave(1.0), torch.rand(4, 3, dtype=torch.float64) + 1
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine="finite_difference")
    criterion(model, x).backward()
    assert [value for key, value in memory(model).measured.items() if key[0] == "step"] == [1.0]


class Exponential(nn.Module):
    """The exponential of a large matrix, whose gradient torch rounds by the size of the gradient that comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4).double())

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(4 * x * self.weight).flatten(1).mean(1, keepdim=True)


def test_a_matrix_exponential_is_differenced_without_a_loss_of_digits() -> None:
    assert off_from_value(Exponential(), torch.randn(2, 4, 4, dtype=torch.float64), engine="finite_difference") < 1e-4


class Asking(nn.Module):
    """The gradient of an energy, with a leaf of its own where the input requires no grad: its control flow is another one there."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def forward(self, x: Tensor) -> Tensor:
        z = x if x.requires_grad else x.detach().requires_grad_()
        found: Tensor = torch.autograd.grad(self.net(z).sum(), z, create_graph=True)[0]
        return found


def test_a_model_that_asks_whether_its_input_requires_grad_gets_the_same_answer_again() -> None:
    model, x = Asking(), torch.randn(5, 3, dtype=torch.float64)
    for _ in range(2):
        assert off_from_value(model, x, engine="finite_difference") < 1e-6
