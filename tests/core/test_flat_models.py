"""Every term with second derivatives warns on a network that is linear in pieces, whatever its value and gradient are; and on no other."""

import warnings

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad import recipes

pytestmark = pytest.mark.usefixtures("unverified")  # tests/verification has the check of the first step

X = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
HESSIANS = torch.zeros(6, 2, 2, dtype=torch.float64)


def heat(u: ig.Field) -> torch.Tensor:
    return u.d("t") - 0.1 * u.d("xx")


def flux(u: ig.Field) -> torch.Tensor:
    return u.d("t") + u.of(0.5 * u.d("x"), "x")


SECOND = {
    "named": ig.Residual(heat, "xt"),
    "a sum": ig.Residual(lambda u: u.laplacian() - u.value, "xt"),
    "a flux": ig.Residual(flux, "xt"),
    "ResidualGradient": ig.ResidualGradient(lambda u: u.d("t"), "xt"),
    "poisson": recipes.poisson(source=1.0, names="xt"),
    "poisson in a medium": recipes.poisson(names="xt", conductivity=lambda u: 1 + u.coordinate("x")),
    "heat": recipes.heat(names="xt"),
    "wave": recipes.wave(names="xt"),
    "burgers": recipes.burgers(viscosity=0.1, names="xt"),
    "condition": recipes.condition(value=0.0, at=None, derivative="xx", names="xt"),
    "self-adaptive": ig.SelfAdaptive(ig.Residual(heat, "xt"), torch.ones(6)),
    "causal": ig.CausalResidual(heat, "xt", segments=2),
    "HessianMatch": ig.HessianMatch(HESSIANS),
    "Convex": ig.Convex({0: 1}, margin=0.1),
    "no_arbitrage": recipes.no_arbitrage(maturity=1, strike=0),
    "SlicedEnergyMatching": ig.SlicedEnergyMatching(),
    "LagrangesEquations": ig.LagrangesEquations(torch.ones(6, 1)),
    "SmallDivergence": ig.SmallDivergence(low=1e-9),
    "SingularHessian": ig.SingularHessian(),
}

FIRST = {
    "advection": ig.Residual(lambda u: u.d("t") + u.d("x"), "xt"),
    "a conservation law": ig.Residual(lambda u: u.d("t") + u.d("x") + u.of(u.value**2 / 2, "x"), "xt"),
    "ResidualGradient of values": ig.ResidualGradient(lambda u: u.value**2, "xt"),
    "UnitSlope": ig.UnitSlope(),
    "GradientNorm": ig.GradientNorm(),
    "the loss is curved": ig.HessianMatch(HESSIANS, of="loss"),
}


def network(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 1)).double()


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_of_networks_that_are_linear_in_pieces_are_warned_of_once(name):
    criterion = "mse" + SECOND[name]
    for activation in (nn.ReLU(), nn.LeakyReLU(0.2)):
        model = network(activation)
        with pytest.warns(UserWarning, match="the second derivative of Sequential in its input is zero wherever it exists") as caught:
            criterion(model, X, X[:, :1])
        assert len({str(one.message).partition(":")[0] for one in caught}) == len(caught)  # once for each kind of term
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            criterion(model, X, X[:, :1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(network(nn.Tanh()), X, X[:, :1])


@pytest.mark.parametrize("name", FIRST)
def test_terms_with_first_derivatives_say_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ("mse" + FIRST[name])(network(nn.ReLU()), X, X[:, :1])


def test_a_last_layer_of_zeros_decides_nothing_until_it_has_learnt():
    for activation, told in ((nn.Tanh(), False), (nn.ReLU(), True)):
        model, criterion = network(activation), "mse" + ig.Residual(heat, "xt")
        nn.init.zeros_(model[-1].weight)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            criterion(model, X, X[:, :1])
        nn.init.ones_(model[-1].weight)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            criterion(model, X, X[:, :1])
        assert bool(caught) is told


def test_explain_tells_it_before_training():
    found = ("mse" + ig.Residual(heat, "xt")).explain(network(nn.ReLU()), X, X[:, :1])
    assert any("second derivative" in text for text in found.warnings)
