"""Fields of plain steps: what is found once a form, and conditions on values alone. Judged by plain torch in float64, and by a step that was made in full."""

import gc
import weakref
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from tests.textbook import Gradients, distance

GENERATOR = torch.Generator().manual_seed(1)
X, POINTS = (torch.rand(size, 2, dtype=torch.float64, generator=GENERATOR) for size in (12, 5))
Y = torch.sin(X.sum(1, keepdim=True))


def layers(*between: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), *between, nn.Tanh(), nn.Linear(8, 1)).double()


class Net(nn.Module):
    """A network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(1.5 * x)
        return out


class Looking(Net):
    """Its output has a graph only where its input has one."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if x.requires_grad else out.detach()


class Columns(Net):
    """Of two inputs."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]  # other inputs
        return super().forward(torch.stack([x, t], 1))


@dataclass(frozen=True, eq=False)
class Own(ig.places.Place):
    """Points that somebody else's graph holds."""

    points: Tensor

    def inputs(self, batch: ig.Batch) -> Any:
        return self.points


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


CONDITIONS: dict[str, tuple[Any, Callable[[nn.Module], Tensor]]] = {
    "a number": (ig.recipes.condition(value=0.5, names="xt", at=ig.Given(POINTS)), lambda model: (model(POINTS * 1)[:, 0] - 0.5).square().mean()),
    "a function of the coordinates": (
        ig.recipes.condition(value=lambda u: torch.sin(u.coordinate("x")), names="xt", at=ig.Given(POINTS)),
        lambda model: (model(POINTS * 1)[:, 0] - torch.sin(POINTS[:, 0])).square().mean(),
    ),
    "a slope": (
        ig.recipes.condition(value=0.5, derivative="t", names="xt", at=ig.Given(POINTS)),
        lambda model: (at(model, POINTS)[1][:, 1] - 0.5).square().mean(),
    ),
    "the slope of a quantity": (
        ig.Residual(lambda u: u.of(u.value**2, "x"), names="xt", at=ig.Given(POINTS)),
        lambda model: (2 * at(model, POINTS)[0] * at(model, POINTS)[1][:, 0]).square().mean(),
    ),
}


@pytest.mark.parametrize("make", [layers, Net])
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("base", [None, "mse"])
def test_an_equation_with_a_condition(condition: str, make: Callable[[], nn.Module], base: str | None, plain: list[str]) -> None:
    term, by_hand = CONDITIONS[condition]
    model = make()
    criterion = ig.InputGradientLoss(base, ig.recipes.heat(diffusivity=0.1, names="xt") + 2 * term)

    def loss() -> Tensor:
        total = heat(model) + 2 * by_hand(model)
        return total if base is None else total + F.mse_loss(model(X * 1), Y)

    wanted = gradients(model, loss())
    steps(criterion, model, lambda _: wanted, target=Y)
    assert plain == ["made"] * 4


@pytest.mark.parametrize("later", ["d", "of", "laplacian", "another field"])
@pytest.mark.parametrize("make", [layers, Net])
def test_a_derivative_that_is_asked_for_later_only_is_right(later: str, make: Callable[[], nn.Module], plain: list[str]) -> None:
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
    assert set(plain) == {"made"}


def twice_differentiated(points: Tensor) -> Callable[[ig.Field], Tensor]:
    def equation(u: ig.Field) -> Tensor:
        (first,) = torch.autograd.grad(u.value.sum(), points, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 0].sum(), points, create_graph=True)
        return second[:, 0] - 0.3

    return equation


LEAF = POINTS.clone().requires_grad_()
MANY = torch.rand(40_000, 2, dtype=torch.float64, generator=GENERATOR).requires_grad_()
COLUMNS = {"x": POINTS[:, 0].clone(), "t": POINTS[:, 1].clone()}
ODD: dict[str, tuple[Callable[[], nn.Module], Any, Callable[[ig.Field], Tensor], Any]] = {
    "points of a graph, differentiated by the equation itself": (lambda: layers(nn.LayerNorm(8)), Own(LEAF), twice_differentiated(LEAF), X),
    "many points that learn": (layers, Own(MANY), lambda u: u.value - 0.3, X),
    "a model that looks whether its input has a graph": (Looking, ig.Given(POINTS), lambda u: u.value - 0.3, X),
    "an equation that looks": (layers, ig.Given(POINTS), lambda u: u.value * (1.0 if u.coordinate("x").requires_grad else 2.0), X),
    "a coordinate that the equation differentiates": (
        Columns,
        ig.Given(COLUMNS),
        lambda u: torch.autograd.grad(u.value.sum(), u.coordinate("x"), create_graph=True)[0],
        {"x": X[:, 0], "t": X[:, 1]},
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_later_steps_with_values_alone_are_the_first(odd: str, plain: list[str]) -> None:
    """Nobody asks the field for a derivative: somebody may take one all the same, or look whether it could."""
    make, place, equation, x = ODD[odd]
    names = None if isinstance(x, dict) else "xt"
    criterion, model = ig.InputGradientLoss(None, ig.Residual(equation, names=names, at=place)), make()
    tensors = [*model.parameters(), *([place.points] if isinstance(place, Own) else [])]
    seen = []
    for _ in range(4):
        for tensor in tensors:
            tensor.grad = None
        step = criterion.backward(model, x)
        seen.append([step.loss, *(tensor.grad for tensor in tensors)])
    for later in seen[1:]:
        for now, first in zip(later, seen[0], strict=True):
            assert (now is None) == (first is None)
            assert now is None or first is None or torch.allclose(now, first, rtol=1e-10, atol=1e-12)


def test_a_layer_that_begins_to_work_in_place_leaves_the_points_alone() -> None:
    activation, points = nn.LeakyReLU(), POINTS - 0.5
    model, kept = nn.Sequential(activation, *layers()), points.clone()
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.value, names="xt", at=ig.Given(points)))
    losses = []
    for step in range(6):
        activation.inplace = step >= 3
        losses.append(criterion.backward(model, X).loss.item())
    assert torch.equal(points, kept)
    assert losses == pytest.approx([losses[0]] * 6, rel=1e-12)


@pytest.mark.parametrize("base", [None, "mse"])
def test_a_coefficient_on_a_frozen_network_learns_in_plain_steps(base: str | None, plain: list[str]) -> None:
    model, coefficient = layers().requires_grad_(False), nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
    term = ig.Residual(lambda u: u.value * coefficient - 1, names="xt", at=ig.Given(POINTS))
    criterion = ig.InputGradientLoss(base, term)
    wanted = (2 * (model(POINTS)[:, 0] * 0.7 - 1) * model(POINTS)[:, 0]).mean()
    for _ in range(4):
        coefficient.grad = None
        criterion.backward(model, X, Y)
        assert coefficient.grad is not None
        torch.testing.assert_close(coefficient.grad, wanted, rtol=1e-12, atol=0)
    assert plain == ["made"] * 3


def test_fields_that_ask_now_and_then_for_more_stay_in_plain_steps(plain: list[str]) -> None:
    model, now = layers(), [0]

    def residual(number: int) -> ig.Residual:
        return ig.Residual(lambda u: u.value + u.d("x") if now[0] % 7 == number else u.value, names="xt", at=ig.Given(POINTS + number))

    criterion = ig.InputGradientLoss(None, [residual(number) for number in range(4)])
    for step in range(20):
        now[0] = step
        criterion.backward(model, X)
    assert plain == ["made"] * 19


def test_an_equation_of_each_step_is_let_go_of() -> None:
    """A term made anew at each step, with what it closes over and its graph."""
    model, coefficients, alive = layers(), layers(), []

    @ig.term
    def anew(batch: ig.Batch) -> Tensor:
        k = coefficients(batch.inputs)[:, 0]
        alive.append(weakref.ref(k))
        return ig.Residual(lambda u: u.d("x") - k, names="xt")(batch)

    criterion = ig.InputGradientLoss("mse", 0.1 * anew)
    for _ in range(300):
        criterion.backward(model, X, Y)
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= 1
    known = criterion._forms.of(model)
    assert known is not None
    assert all(len(form.plain.known) <= 256 for form in known.forms if form.plain is not None)


def test_an_equation_of_second_order_later_on_a_flat_network_is_told() -> None:
    """It asks the field for nothing else than before."""
    torch.manual_seed(0)
    model, now = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)).double(), [0]
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.of(u.d("x") if now[0] else u.value, "x") + u.d("x") + u.value, names="xt"))
    for _ in range(3):
        criterion.backward(model, X)
    now[0] = 1
    with pytest.warns(UserWarning, match="the second derivative of Sequential in its input is zero"):
        criterion.backward(model, X)


def test_an_input_that_is_no_tensor_and_comes_later_is_told() -> None:
    class Flagged(Columns):
        def forward(self, x: Tensor, t: Tensor, flag: bool = False) -> Tensor:  # type: ignore[override]  # other inputs
            return super().forward(x, t)

    model, inputs = Flagged(), {"x": X[:, 0], "t": X[:, 1]}
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.d("x")))
    for _ in range(3):
        criterion.backward(model, inputs)
    told = []
    for loss in (ig.InputGradientLoss(None, criterion.terms), criterion):
        with pytest.raises((TypeError, ValueError)) as error:
            loss.backward(deepcopy(model) if loss is not criterion else model, {**inputs, "flag": True})
        told.append(str(error.value))
    assert told[0] == told[1]


class Branching(Net):
    """With a buffer and a branch that depends on its input."""

    def __init__(self, branch: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.branch = branch
        self.register_buffer("shift", torch.zeros(2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.branch(x + self.shift))


BRANCHES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: x + F.relu(x - 0.5),
    "clamp": lambda x: x.clamp(0.2, 0.8) + x,
    "where": lambda x: torch.where(x > 0.5, x, 2 * x),
    "detach": lambda x: x + x.detach(),
    "if": lambda x: 2 * x if x.sum() > 0 else x,
}


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("place", [None, ig.Given(POINTS)], ids=["here", "there"])
def test_an_equation_of_first_order_on_a_model_with_a_buffer_and_a_branch(branch: str, place: Any) -> None:
    """The check of the first step runs the formula on a tape that must not see the model's pass."""
    model, points = Branching(BRANCHES[branch]), X if place is None else POINTS

    def loss() -> Tensor:
        u, first, _ = at(model, points)
        return (first[:, 0] + u**2).square().mean()

    wanted = gradients(model, loss())
    steps(ig.InputGradientLoss(None, ig.Residual(lambda u: u.d("x") + u.value**2, names="xt", at=place)), model, lambda _: wanted, count=3)
