"""Surfaces from points without normals: Neural-Pull, DiGS and Neural-Singular-Hessian against their papers and code."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes import surfaces
from inputgrad.terms.surface import NotOnSurface, Pull, SingularHessian, SmallDivergence, UnitSlope
from tests import zoo
from tests.catalogue.harness import MODELS, SIZE, Entry, cases, check
from tests.catalogue.test_physics_informed import first, second
from tests.textbook import distance, parameter_gradients


def nearest(x: Tensor) -> Tensor:
    return torch.cos(2 * x)


def pulled(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Ma et al. 2021: t′ = q − f(q) ∇f/‖∇f‖."""
    g = first(model, x)
    return x - model(x) * g / g.norm(dim=1, keepdim=True)


def in_space(n: int = SIZE) -> Tensor:
    """Draws as the library's: uniform in the box."""
    return -1.1 + 2.2 * torch.rand(n, zoo.FEATURES, dtype=torch.float64)


def digs(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Ben-Shabat et al.'s loss, "siren_wo_n_w_div", with as many points in space as on the surface."""
    z = in_space()
    slopes = torch.cat([first(model, x), first(model, z)]).norm(dim=1)
    divergence = second(model, z).diagonal(dim1=1, dim2=2).sum(1)
    return (
        3000 * model(x).abs().mean()
        + 100 * torch.exp(-100 * model(z).abs()).mean()
        + 50 * (slopes - 1).abs().mean()
        + 100 * divergence.abs().clamp(0.1, 50).mean()
    )


def singular(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Wang et al.'s loss, "siren_wo_n_w_morse", one-sided, near the surface."""
    z = in_space()
    near = x + y["sigma"][:, None] * torch.randn(x.shape, dtype=torch.float64)
    return (
        7000 * model(x).abs().mean()
        + 600 * torch.exp(-100 * model(z).abs()).mean()
        + 50 * (first(model, x).norm(dim=1) - 1).abs().mean()
        + 3 * 0.5 * torch.linalg.det(second(model, near)).abs().mean()
    )


SMOOTH = ("scalar",)
ENTRIES = (
    Entry("neural_pull", lambda: surfaces.neural_pull(), lambda m, x, y: (y - pulled(m, x, y)).norm(dim=1).mean(), target=nearest, models=("scalar", "steep")),
    Entry("Pull", lambda: Pull(squared=True), lambda m, x, y: (y - pulled(m, x, y)).square().sum(1).mean(), target=nearest, models=("scalar", "scalar_relu")),
    Entry("NotOnSurface", lambda: NotOnSurface(sharpness=2.0), lambda m, x, y: torch.exp(-2 * m(x).abs()).mean(), models=SMOOTH),
    Entry("UnitSlope", lambda: UnitSlope(), lambda m, x, y: (first(m, x).norm(dim=1) - 1).abs().mean(), models=SMOOTH),
    Entry(
        "SmallDivergence",
        lambda: SmallDivergence(low=0.0, high=1.0, squared=True),
        lambda m, x, y: second(m, x).diagonal(dim1=1, dim2=2).sum(1).square().clamp(0, 1).mean(),
        models=SMOOTH,
    ),
    Entry("SingularHessian", lambda: 1e6 * SingularHessian(), lambda m, x, y: 1e6 * torch.linalg.det(second(m, x)).abs().mean(), models=("steep",)),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward", "finite_difference"])
@pytest.mark.parametrize(("criterion", "reference"), [(surfaces.digs, digs), (surfaces.neural_singular_hessian, singular)])
def test_whole_losses_are_the_authors(criterion: Any, reference: Any, engine: str) -> None:
    torch.manual_seed(0)
    model, x = MODELS["steep"][0]().double(), zoo.features(SIZE)
    target = {"sigma": torch.linspace(0.1, 0.3, SIZE, dtype=torch.float64)}
    torch.manual_seed(4)
    wanted = reference(model, x, target)
    book = parameter_gradients(model, wanted)
    whole = criterion()
    torch.manual_seed(4)
    loss = ig.InputGradientLoss(whole.base, whole.terms, engine=engine)(model, x, target)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-10)
    assert distance(parameter_gradients(model, loss), book) < 1e-6


def test_a_plane_is_pulled_onto_itself_and_has_a_singular_hessian() -> None:
    class Plane(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x[:, 2] + 0 * x.square().sum(1)

    x = torch.randn(SIZE, 3, dtype=torch.float64)
    on_the_plane = x * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    assert ig.InputGradientLoss(None, surfaces.neural_pull())(Plane(), x, on_the_plane) == 0
    with pytest.warns(UserWarning, match="SingularHessian: the second derivative of Plane in its input is zero"):
        assert ig.InputGradientLoss(None, SingularHessian())(Plane(), x) == 0
    assert ig.InputGradientLoss(None, surfaces.neural_pull())(Plane(), x, on_the_plane + 1) > 1


def test_points_in_space_are_drawn_once_for_all_terms() -> None:
    seen = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = MODELS["steep"][0]().double()

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return self.body(x)

    surface = zoo.features(SIZE)
    surfaces.digs()(Watched(), surface).backward()
    drawn = {tuple(points.flatten().tolist()) for points in seen if len(points) == SIZE}  # a few of them are looked at once more: whether the model is flat
    assert len(drawn) == 2  # the surface, and one draw


def test_the_target_of_neural_pull_is_a_tensor_of_points() -> None:
    with pytest.raises(TypeError, match=r"nearest surface points, a tensor \[N, D\]"):
        ig.InputGradientLoss(None, surfaces.neural_pull())(nn.Linear(3, 1), torch.rand(4, 3), {"nearest": torch.rand(4, 3)})


def test_a_distance_has_one_output() -> None:
    with pytest.raises(ValueError, match=r"UnitSlope: the model must give one distance per point, \[N\] or \[N, 1\]; got \[4, 2\]"):
        ig.InputGradientLoss(None, UnitSlope())(nn.Linear(3, 2), torch.rand(4, 3))
