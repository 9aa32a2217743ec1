"""Fields of plain steps: passes that are asked for values alone, and what is kept from step to step. Judged by plain torch in float64, and by looking."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.step.plain_pass import PlainPass
from tests.textbook import Gradients, distance

GENERATOR = torch.Generator().manual_seed(1)
X, POINTS = (torch.rand(size, 2, dtype=torch.float64, generator=GENERATOR) for size in (12, 5))
Y = torch.sin(X.sum(1, keepdim=True))


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()


class Net(nn.Module):
    """A network of one's own; in place: it works on the tensor that it is handed."""

    def __init__(self, *, in_place: bool = False) -> None:
        super().__init__()
        self.layers, self.in_place = layers(), in_place

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x.mul_(1.5) if self.in_place else 1.5 * x)
        return out


class Force(nn.Module):
    """The derivative of an energy that ends in a normalisation: the model differentiates itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(2, 8).double(), nn.LayerNorm(8).double(), nn.Linear(8, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        z = x if x.requires_grad else x.detach().requires_grad_()
        energy = self.last(torch.tanh(self.norm(self.first(z)))).sum()
        (slope,) = torch.autograd.grad(energy, z, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), z, create_graph=True)
        return curvature


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each pass that is made for a field in a plain step, whether it had variables."""
    found: list[bool] = []
    run = PlainPass.run

    def noted(self: PlainPass, changes: Any) -> Any:
        found.append(not self.left_out)
        return run(self, changes)

    monkeypatch.setattr(PlainPass, "run", noted)
    return found


def gradients(model: nn.Module, loss: Tensor) -> Gradients:
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


def at(model: nn.Module, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = points.clone().requires_grad_()
    u = model(z * 1)[:, 0]
    (first,) = torch.autograd.grad(u.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 0].sum(), z, create_graph=True)
    return u, first, second


def laplacian(model: nn.Module) -> Tensor:
    z = POINTS.clone().requires_grad_()
    (first,) = torch.autograd.grad(model(z * 1).sum(), z, create_graph=True)
    return torch.stack([torch.autograd.grad(column.sum(), z, create_graph=True)[0][:, i] for i, column in enumerate(first.unbind(1))]).sum(0)


def heat(model: nn.Module) -> Tensor:
    _, first, second = at(model, X)
    return (first[:, 1] - 0.1 * second[:, 0]).square().mean()


def steps(criterion: ig.InputGradientLoss, model: nn.Module, wanted: Callable[[int], Gradients], count: int = 5, target: Any = None) -> None:
    for step in range(count):
        model.zero_grad()
        criterion.backward(model, X, target)
        found = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert distance(found, wanted(step)) < 1e-12, step


CONDITIONS: dict[str, tuple[Any, Callable[[nn.Module], Tensor], bool]] = {
    "a number": (ig.recipes.condition(value=0.5, names="xt", at=ig.Given(POINTS)), lambda model: (model(POINTS * 1)[:, 0] - 0.5).square().mean(), True),
    "a function of the coordinates": (
        ig.recipes.condition(value=lambda u: torch.sin(u.coordinate("x")), names="xt", at=ig.Given(POINTS)),
        lambda model: (model(POINTS * 1)[:, 0] - torch.sin(POINTS[:, 0])).square().mean(),
        True,
    ),
    "a slope": (
        ig.recipes.condition(value=0.5, derivative="t", names="xt", at=ig.Given(POINTS)),
        lambda model: (at(model, POINTS)[1][:, 1] - 0.5).square().mean(),
        False,
    ),
    "the slope of a quantity": (
        ig.Residual(lambda u: u.of(u.value**2, "x"), names="xt", at=ig.Given(POINTS)),
        lambda model: (2 * at(model, POINTS)[0] * at(model, POINTS)[1][:, 0]).square().mean(),
        False,
    ),
}


@pytest.mark.parametrize("make", [layers, Net, lambda: Net(in_place=True)], ids=["layers", "class", "in place"])
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("base", [None, "mse"])
def test_a_condition_on_values_opens_no_variables(
    condition: str, make: Callable[[], nn.Module], base: str | None, plain: list[str], opened: list[bool]
) -> None:
    term, by_hand, is_of_values = CONDITIONS[condition]
    model, points = make(), POINTS.clone()
    criterion = ig.InputGradientLoss(base, ig.recipes.heat(diffusivity=0.1, names="xt") + 2 * term)

    def loss() -> Tensor:
        total = heat(model) + 2 * by_hand(model)
        return total if base is None else total + F.mse_loss(model(X * 1), Y)

    wanted = gradients(model, loss())
    steps(criterion, model, lambda _: wanted, target=Y)
    assert plain == ([] if getattr(model, "in_place", False) else ["made"] * 4)  # such a model's steps are made in full
    assert opened.count(False) == (len(plain) if is_of_values else 0)
    assert torch.equal(POINTS, points)


@pytest.mark.parametrize("later", ["d", "of", "laplacian", "another field"])
@pytest.mark.parametrize("make", [layers, Net])
def test_a_derivative_that_is_asked_for_later_only_is_right(later: str, make: Callable[[], nn.Module], opened: list[bool]) -> None:
    """By the same field, or by another term at the same points, under other names."""
    model, place, now = make(), ig.Given(POINTS), [0]

    def value(u: ig.Field) -> Tensor:
        if now[0] != 3 or later == "another field":
            return u.value
        return {"d": lambda: u.d("x"), "of": lambda: u.of(u.value**2, "x"), "laplacian": u.laplacian}[later]()

    def other(u: ig.Field) -> Tensor:
        return u.d("a") if now[0] == 3 else u.value

    beside = ig.Residual(other, names="ab", at=place) if later == "another field" else ig.GradientNorm(power=2)
    criterion = ig.InputGradientLoss(None, ig.Residual(value, names="xt", at=place) + beside)

    def wanted(step: int) -> Gradients:
        now[0] = step + 1  # of the step that comes
        u, first, _ = at(model, POINTS)
        is_later = step == 3
        slopes = {"d": first[:, 0], "of": 2 * u * first[:, 0], "laplacian": laplacian(model)}
        mine = slopes[later] if is_later and later in slopes else u
        if later == "another field":
            return gradients(model, mine.square().mean() + (first[:, 0] if is_later else u).square().mean())
        return gradients(model, mine.square().mean() + at(model, X)[1].square().sum(1).mean())

    steps(criterion, model, wanted, count=8)
    assert False in opened


def test_a_field_that_asks_now_and_then_keeps_its_variables(plain: list[str]) -> None:
    """After the first derivative that was not expected it is expected at every step, so that only one step is made twice."""
    model, now = layers(), [0]
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.value + u.d("x") if now[0] % 5 == 4 else u.value, names="xt", at=ig.Given(POINTS)))
    for step in range(20):
        now[0] = step
        criterion.backward(model, X)
    assert plain.count("UnforeseenError") == 1
    assert plain.count("made") >= 16


@pytest.mark.parametrize("points", [POINTS, POINTS.clone().requires_grad_()], ids=["constants", "of a graph"])
def test_a_model_that_differentiates_itself_is_right_at_points_of_values_alone(points: Tensor, opened: list[bool]) -> None:
    """Its parameters' gradient is a third derivative of a normalisation, which torch by itself has wrong."""
    model = Force()
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.part(0).value, names="xt", at=ig.Given(points)))
    criterion.backward(model, X)
    first = {name: parameter.grad for name, parameter in model.named_parameters()}
    steps(criterion, model, lambda _: first, count=3)


def test_what_is_kept_of_an_equation_does_not_outlive_its_form() -> None:
    """A term made anew at each step leaves nothing behind."""
    model = layers()

    @ig.term
    def anew(batch: ig.Batch) -> Tensor:
        return ig.Residual(lambda u: u.d("x"), names="xt")(batch)

    criterion = ig.InputGradientLoss("mse", 0.1 * anew)
    for _ in range(300):
        criterion.backward(model, X, Y)
    known = criterion._forms.of(model)
    assert known is not None
    assert all(len(form.plain.known) <= 256 for form in known.forms if form.plain is not None)
