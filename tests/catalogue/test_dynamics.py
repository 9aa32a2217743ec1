"""Lagrangian networks, and penalties on the vector fields of neural differential equations and equilibrium models; against their papers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes import dynamics
from inputgrad.terms.lagrangian import LagrangesEquations
from inputgrad.terms.vector_field import KineticEnergy, NormalProjection
from tests import zoo
from tests.catalogue.harness import SIZE, Entry, cases, check
from tests.catalogue.test_norms import jacobians
from tests.catalogue.test_physics import phase_space
from tests.catalogue.test_physics_informed import first, second


def accelerations(model: nn.Module, x: Tensor) -> Tensor:
    """Cranmer et al. 2020: (∇_q̇ ∇_q̇ᵀ L)⁻¹ [∇_q L − (∇_q ∇_q̇ᵀ L) q̇], sample by sample."""
    slopes, curvatures = first(model, x), second(model, x)
    rows = [torch.linalg.inv(h[2:, 2:]) @ (g[:2] - h[2:, :2] @ z[2:]) for g, h, z in zip(slopes, curvatures, x, strict=True)]
    return torch.stack(rows)


def measured(x: Tensor) -> Tensor:
    wanted = torch.sin(3 * x[:, :2])
    wanted[2, 1] = math.nan
    return wanted


def lagrange(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    gap = torch.where(y.isnan(), 0, accelerations(model, x) - y.nan_to_num())
    return (gap.square().sum(1) / (~y.isnan()).sum(1)).mean()


def lagrange_sums(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(y.isnan(), 0, accelerations(model, x) - y.nan_to_num()).abs().sum(1).mean()


def rnode(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """The authors' code: ½ the mean of f², and the mean of (εᵀJ)²."""
    epsilon = torch.randn(len(x), 1, x.shape[1], dtype=x.dtype)
    along = (epsilon @ jacobians(model, x))[:, 0]
    return 0.02 * 0.5 * model(x).square().mean() + 0.03 * along.square().mean()


def rnode_of_the_paper(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    epsilon = torch.randn(len(x), 1, x.shape[1], dtype=x.dtype)
    along = (epsilon @ jacobians(model, x))[:, 0]
    return 0.01 * model(x).square().sum(1).mean() + 0.01 * along.square().sum(1).mean()


def deq(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Bai et al.'s estimate: ‖vᵀJ‖² over the whole batch, divided by the number of v and by the number of entries of z."""
    v = torch.randn(len(x), 2, x.shape[1], dtype=x.dtype)
    jacobian = jacobians(model, x)
    return 2.0 * sum((v[:, k, None] @ jacobian).norm() ** 2 for k in range(2)) / 2 / x.numel()


ENTRIES = (
    Entry("lagrangian_network", lambda: dynamics.lagrangian_network().terms, lagrange, target=measured, models=("hamiltonian",), inputs=phase_space),
    Entry("LagrangesEquations", lambda: LagrangesEquations(norm="absolute"), lagrange_sums, target=measured, models=("hamiltonian",), inputs=phase_space),
    Entry("neural_ode_regularization", lambda: dynamics.neural_ode_regularization(0.02, jacobian=0.03), rnode, models=("field",)),
    Entry("neural_ode_regularization_sum", lambda: dynamics.neural_ode_regularization(reduction="sum"), rnode_of_the_paper, models=("field",)),
    Entry("deq_jacobian", lambda: dynamics.deq_jacobian(2.0, n=2), deq, models=("field",)),
    Entry("KineticEnergy", lambda: KineticEnergy(), lambda m, x, y: m(x).square().sum(1).mean(), models=("field", "relu")),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def test_a_lagrangian_on_paper_has_no_misfit() -> None:
    """A pendulum with L = ½ m q̇² + g cos q: q̈ = −(g/m) sin q."""

    class Pendulum(nn.Module):
        def __init__(self, mass: float) -> None:
            super().__init__()
            self.mass = nn.Parameter(torch.tensor(mass, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * self.mass * x[:, 1] ** 2 + 9.8 * torch.cos(x[:, 0])

    x = torch.randn(SIZE, 2, dtype=torch.float64)
    target = -9.8 / 2.0 * torch.sin(x[:, :1])
    assert dynamics.lagrangian_network()(Pendulum(2.0), x, target) < 1e-24
    wrong = Pendulum(1.5)
    loss = dynamics.lagrangian_network()(wrong, x, target)
    loss.backward()
    assert loss > 0.1
    assert wrong.mass.grad < 0  # a larger mass fits better


def test_a_normal_projection_estimates_the_frobenius_norm() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 5), nn.Tanh()).double(), zoo.features(1).expand(20_000, -1)
    estimate = dynamics.deq_jacobian()
    wanted = jacobians(model, x[:1]).square().sum() / 5
    assert ig.InputGradientLoss(None, estimate)(model, x).item() == pytest.approx(wanted.item(), rel=0.03)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: NormalProjection(0), ValueError, "n must be a whole number"),
        (lambda: KineticEnergy("max"), ValueError, "reduction='max'"),
        (lambda: dynamics.lagrangian_network()(nn.Linear(3, 1), torch.rand(4, 3), torch.rand(4, 1)), ValueError, r"\[N, 2d\]"),
        (
            lambda: dynamics.lagrangian_network()(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), torch.rand(4, 4), torch.rand(4, 3)),
            ValueError,
            "acceleration has shape",
        ),
    ],
)
def test_bad_settings(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
