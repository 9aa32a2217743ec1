"""Equations of several inputs and outputs: conditions on components of a system, inputs by position or name, points drawn for several inputs."""

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import recipes

GENERATOR = torch.Generator().manual_seed(2)
POINTS, WALL, WANTED = (torch.rand(*shape, dtype=torch.float64, generator=GENERATOR) for shape in ((6, 2), (5, 2), (5, 3)))


class Flow(nn.Module):
    """(u, v, p) of points, or of their columns by name."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, outputs)).double()

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        return self.layers(x if t is None else torch.stack((x, t), 1))


def compare(term, by_hand, model=None, inputs=POINTS, target=None):
    model = Flow() if model is None else model
    parameters = list(model.parameters())
    loss = ig.InputGradientLoss(None, term)(model, inputs, target)
    got = torch.autograd.grad(loss, parameters, allow_unused=True)
    wanted = by_hand(model)
    torch.testing.assert_close(loss, wanted)
    for one, other in zip(got, torch.autograd.grad(wanted, parameters, allow_unused=True), strict=True):
        torch.testing.assert_close(torch.zeros(()) if one is None else one.abs().sum().float(), torch.zeros(()) if other is None else other.abs().sum().float())
        assert one is None or other is None or torch.allclose(one, other)


def slopes(model, points, column):
    """∂/∂column of each output, ``[N, C]``."""
    z = points.clone().requires_grad_()
    return torch.stack([torch.autograd.grad(row.sum(), z, create_graph=True)[0][:, column] for row in model(z).unbind(1)], 1)


SYSTEMS = {
    "all outputs": ({"value": 0.5}, lambda m: (m(WALL) - 0.5).square().mean()),
    "a tensor": ({"value": WANTED}, lambda m: (m(WALL) - WANTED).square().mean()),
    "a callable": ({"value": lambda u: u.coordinate("x")[:, None].expand(-1, 3)}, lambda m: (m(WALL) - WALL[:, :1]).square().mean()),
    "by name": (
        {"value": {"u": 0.0, "p": WANTED[:, 0]}, "outputs": "uvp"},
        lambda m: torch.stack((m(WALL)[:, 0], m(WALL)[:, 2] - WANTED[:, 0])).square().mean(),
    ),
    "by number": ({"value": {1: WANTED[:, :1]}}, lambda m: (m(WALL)[:, 1] - WANTED[:, 0]).square().mean()),
    "a callable by name": ({"value": {"v": lambda u: u.part("u").value}, "outputs": "uvp"}, lambda m: (m(WALL)[:, 1] - m(WALL)[:, 0]).square().mean()),
    "slopes": (
        {"value": {"u": 0.0, "v": 1.0}, "outputs": "uvp", "derivative": "t"},
        lambda m: (slopes(m, WALL, 1)[:, :2] - WALL.new_tensor([0.0, 1.0])).square().mean(),
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_conditions_on_outputs_of_a_system(name):
    settings, by_hand = SYSTEMS[name]
    compare(recipes.condition(3.0, at=ig.Given(WALL), names="xt", **settings), lambda model: 3 * by_hand(model))


def test_a_column_of_values_counts_as_one_value_per_point():
    compare(recipes.condition(value=WANTED[:, :1], at=ig.Given(WALL), names="xt"), lambda m: (m(WALL) - WANTED[:, :1]).square().mean(), Flow(1))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"value": WANTED[:, 0]},
            r"^condition: value has shape \[5\]; expected a number or \[5, 3\].*; for some of the outputs give a dict, such as value=\{0: 0.0\}",
        ),
        ({"value": {"w": 0.0}, "outputs": "uvp"}, r"^'w' is not an output of this field; Known: 'p', 'u', 'v'"),
        ({"value": {"u": WANTED}, "outputs": "uvp"}, r"^condition: the value of output 'u' has shape \[5, 3\]; expected a number or one per point, \[5\]"),
        ({"value": 0.0, "outputs": "uv"}, r"^outputs must name each of the model's 3 output"),
        ({"value": {}}, r"^condition: value is an empty dict"),
    ],
)
def test_what_a_condition_on_a_system_says_of_mistakes(settings, told):
    with pytest.raises(ValueError, match=told):
        ig.InputGradientLoss(None, recipes.condition(at=ig.Given(WALL), names="xt", **settings))(Flow(), POINTS, None)


BY_NAME, IN_ORDER = dict(zip("xt", POINTS.unbind(1), strict=True)), tuple(POINTS.unbind(1))


@pytest.mark.parametrize(
    ("inputs", "settings"),
    [
        (BY_NAME, {}),
        (BY_NAME, {"wrt": (0, 1)}),
        (BY_NAME, {"wrt": (0, "t"), "names": "xt"}),
        (IN_ORDER, {"wrt": ("x", "t")}),
        (IN_ORDER, {"wrt": ("x", 1), "names": "xt"}),
        (IN_ORDER, {"names": "xt"}),
    ],
)
def test_coordinates_are_named_by_position_or_name(inputs, settings):
    def by_hand(model):
        z = POINTS.clone().requires_grad_()
        (first,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 0].sum(), z, create_graph=True)
        return (first[:, 1] - 0.1 * second[:, 0]).square().mean()

    terms = recipes.heat(diffusivity=0.1, **settings) + recipes.condition(value=0.0, at=ig.Given({"x": WALL[:, 0], "t": WALL[:, 1]}), **settings)
    compare(terms, lambda model: by_hand(model) + model(WALL).square().mean(), Flow(1), inputs)


def test_points_are_drawn_for_several_inputs():
    place = ig.Uniform({"x": -1.0, "t": 2.0}, {"x": 0.0, "t": 3.0}, n=40, wrt=("x", "t"))
    for inputs in (BY_NAME, IN_ORDER):
        model = Flow(1)
        torch.manual_seed(5)
        x, t = torch.rand(40, dtype=torch.float64) - 1, torch.rand(40, dtype=torch.float64) + 2
        torch.manual_seed(5)
        compare(recipes.condition(value=0.0, at=place, wrt=("x", "t")), lambda model, x=x, t=t: model(x, t).square().mean(), model, inputs)
    criterion = ig.InputGradientLoss(None, recipes.heat(at=ig.Uniform(0.0, 1.0, n=40)))
    with pytest.raises(ValueError, match=r"^Uniform: 40 samples for \['x'\], and others keep those of the batch \('t': \[6\]\): draw them too"):
        criterion(Flow(1), BY_NAME, None)
    with pytest.raises(ValueError, match=r"^Uniform: low names no bound of 't'; Known: 'x'"):
        ig.Uniform({"x": 0.0}, 1.0, wrt=("x", "t"))


@pytest.mark.parametrize(
    ("inputs", "other", "told"),
    [
        (BY_NAME, WALL, r"The model takes 2 inputs: Given\(\{'x': …, 't': …\}\)"),
        (IN_ORDER, WALL, r"The model takes 2 inputs: Given\(\(…, …\)\)"),
        (POINTS, tuple(WALL.unbind(1)), r"The model takes one tensor: Given\(torch\.stack\(\[…\], 1\)\)"),
    ],
)
def test_samples_in_the_other_form_are_told_how_to_be_given(inputs, other, told):
    with pytest.raises(ValueError, match=told):
        ig.InputGradientLoss(None, recipes.condition(value=0.0, at=ig.Given(other), names="xt"))(Flow(1), inputs, None)


@pytest.mark.parametrize(
    ("equation", "kind", "told"),
    [
        (lambda u: u * u.d("x"), TypeError, r"a field is no tensor: write u\.value"),
        (lambda u: 2 - u, TypeError, r"a field is no tensor: write u\.value"),
        (lambda u: u.d("x") - torch.sin(u), TypeError, r"^sin of a field: write u\.value for its values, as in torch\.sin\(u\.value\)"),
        (lambda u: u.dx, AttributeError, r"the derivative is u\.d\('x'\)"),
        (lambda u: u.u_xt, AttributeError, r"the derivative is u\.d\('xt'\)"),
        (lambda u: u.d("x") - u.t, AttributeError, r"the coordinate's values are u\.coordinate\('t'\)"),
        (lambda u: u.values, AttributeError, r"its values are u\.value"),
    ],
)
def test_an_equation_in_another_librarys_words_is_told_the_line(equation, kind, told):
    with pytest.raises(kind, match=told):
        ig.InputGradientLoss(None, ig.Residual(equation, "xt"))(Flow(1), POINTS, None)


def test_outputs_of_a_field_in_brackets():
    term = ig.Residual(lambda u: u["p"].d("x") + u[1].value, "xt", outputs="uvp")
    compare(term, lambda m: (slopes(m, POINTS, 0)[:, 2] + m(POINTS)[:, 1]).square().mean())


def test_the_commonest_mistakes_once_more():
    model, criterion = Flow(1), nn.CrossEntropyLoss() + ig.GradientNorm()
    with pytest.raises(TypeError, match=r"got a tensor of shape \[5, 2\]; for these samples write at=ig\.Given\(samples\)"):
        ig.InputGradientLoss(None, recipes.condition(value=0.0, at=WALL, names="xt"))(model, POINTS)
    with pytest.raises(TypeError, match=r"^wrt must be a position, .* got a tensor of shape \[6, 2\]$"):
        ig.InputGradientLoss(None, ig.GradientNorm(wrt=POINTS))(model, POINTS)
    with pytest.raises(TypeError, match=r"got 'wgan_gp'; a recipe is called: ig\.recipes\.wgan_gp\(\.\.\.\)"):
        ig.InputGradientLoss(None, "wgan_gp")
    with pytest.raises(TypeError, match=r"a recipe is called: ig\.recipes\.wgan_gp\(\.\.\.\)"):
        ig.InputGradientLoss(None, recipes.wgan_gp)
    with pytest.raises(TypeError, match=r"got a list of numbers: torch\.tensor\(target\)"):
        criterion(Flow(3), POINTS, [0, 1, 2, 0, 1, 2])
    with pytest.raises(TypeError, match=r"target is an array of numpy of shape \[6\]: give a tensor, torch\.as_tensor\(target\)"):
        criterion(Flow(3), POINTS, torch.arange(6).numpy())
    with pytest.raises(TypeError, match=r"PGD is called with a term's batch, or with a model and its inputs: .* got a tensor of shape \[6, 2\] first"):
        ig.PGD(0.1)(POINTS)
