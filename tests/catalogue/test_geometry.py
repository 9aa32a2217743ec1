"""Signed distances: against their papers."""

import copy
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.places.sampling import Near
from inputgrad.recipes.geometry import SurfaceOrNot, eikonal, igr, siren
from tests import zoo
from tests.catalogue.harness import ENGINES, MODELS, SCALARS, SIZE, Entry, cases, check
from tests.textbook import distance, parameter_gradients


class Sine(nn.Module):
    """A small network of sines, as in SIREN."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList((nn.Linear(zoo.FEATURES, 8), nn.Linear(8, 6), nn.Linear(6, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](torch.sin(self.layers[1](torch.sin(2 * self.layers[0](x)))))


MODELS.update(sine=(Sine, zoo.features))
DISTANCES = ("sine", *SCALARS)


def labels_of(x: Tensor) -> dict[str, Tensor]:
    """Normals, a mask of the surface, and the widths of the noise. Off the surface the normals are −1, as SIREN's data have them."""
    on = (torch.arange(len(x)) % 2 == 0).double()
    normals = torch.where(on[:, None] > 0, x.sin() / x.sin().norm(dim=1, keepdim=True), -1.0)
    return {"on_surface": on, "normals": normals, "sigma": 0.1 + 0.05 * torch.arange(len(x)).double()}


def field(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """f ``[N]`` and ∂f/∂x ``[N, D]``, with their graph."""
    x = x.detach().clone().requires_grad_()
    f = model(x)[:, 0]
    return f, torch.autograd.grad(f.sum(), x, create_graph=True)[0]


def eikonal_squared(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Gropp et al. 2020, the last term of the loss, at the inputs."""
    return 0.1 * (((field(model, x)[1] ** 2).sum(1).sqrt() - 1) ** 2).mean()


def eikonal_absolute(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    return 50 * ((field(model, x)[1] ** 2).sum(1).sqrt() - 1).abs().mean()


def igr_terms(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    """Gropp et al. 2020, all but |f|: the norm of the difference of the normals, λ = 0.1 and τ = 1; points near the samples and in the box."""
    near = x + torch.randn(x.shape, dtype=x.dtype) * y["sigma"][:, None]
    everywhere = 3.6 * torch.rand(len(x) // 8, x.shape[1], dtype=x.dtype) - 1.8
    normals = ((field(model, x)[1] - y["normals"]) ** 2).sum(1).sqrt().mean()
    return normals + eikonal_squared(model, torch.cat((near, everywhere)), y)


def igr_whole(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    return field(model, x)[0].abs().mean() + igr_terms(model, x, y)


def siren_terms(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    """Sitzmann et al. 2020, with the code's weights and cosine: every mean over all points."""
    _, g = field(model, x)
    cosine = (g * y["normals"]).sum(1) / ((g**2).sum(1).sqrt() * (y["normals"] ** 2).sum(1).sqrt())
    return eikonal_absolute(model, x, y) + 100 * (y["on_surface"] * (1 - cosine)).mean()


def siren_whole(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    f, on = field(model, x)[0], y["on_surface"]
    return 3000 * (on * f.abs()).mean() + 100 * ((1 - on) * torch.exp(-100 * f.abs())).mean() + siren_terms(model, x, y)


def points(n: int) -> Tensor:
    """Enough of them for two uniform ones."""
    return zoo.features(2 * n + 4)


ENTRIES = (
    Entry("eikonal", eikonal, eikonal_squared, labels_of, None, DISTANCES),
    Entry("eikonal_absolute", lambda: eikonal(50.0, squared=False), eikonal_absolute, labels_of, None, DISTANCES),
    Entry("igr", lambda: igr().terms, igr_terms, labels_of, None, DISTANCES, points),
    Entry("siren", lambda: siren().terms, siren_terms, labels_of, None, DISTANCES),
)


@pytest.mark.parametrize(("entry", "model", "engine"), [case for case in cases(ENTRIES) if case.values[2] != "compiled"])  # those of the whole loss, below
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def normals_squared(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    near = x + torch.randn(x.shape, dtype=x.dtype) * y["sigma"][:, None]
    everywhere = 3.6 * torch.rand(len(x) // 8, x.shape[1], dtype=x.dtype) - 1.8
    return ((field(model, x)[1] - y["normals"]) ** 2).sum(1).mean() + eikonal_squared(model, torch.cat((near, everywhere)), y)


def mean_over_the_surface_alone(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    return eikonal_absolute(model, x, y) + (siren_terms(model, x, y) - eikonal_absolute(model, x, y)) / y["on_surface"].mean()


CANARIES = (
    replace(ENTRIES[0], name="no one", reference=lambda model, x, y: 0.1 * (field(model, x)[1] ** 2).sum(1).mean()),
    replace(ENTRIES[1], name="squared", reference=lambda model, x, y: 500 * eikonal_squared(model, x, y)),
    replace(ENTRIES[2], name="normals squared", reference=normals_squared),
    replace(ENTRIES[3], name="mean over the surface", reference=mean_over_the_surface_alone),
)


@pytest.mark.parametrize("canary", CANARIES, ids=[canary.name for canary in CANARIES])
def test_a_wrong_formula_is_seen(canary: Entry) -> None:
    with pytest.raises(AssertionError) as told:
        check(canary, "sine", "double_backward")
    assert "does not pull at the parameters" not in str(told.value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("recipe", "reference"), [(igr, igr_whole), (siren, siren_whole)], ids=["igr", "siren"])
def test_the_whole_loss_is_the_papers(recipe: Any, reference: Any, engine: str) -> None:
    """The base losses too: |f| at the surface, exp(−100 |f|) off it."""
    torch.manual_seed(0)
    model, x = Sine().double(), points(SIZE)
    chosen, tolerance = ENGINES[engine]
    whole = recipe()
    criterion = ig.InputGradientLoss(whole.base, whole.terms, engine=chosen)
    twin = copy.deepcopy(model)
    torch.manual_seed(4)
    expected = reference(twin, x, labels_of(x))
    wanted = parameter_gradients(twin, expected)
    torch.manual_seed(4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*couples the samples.*")
        loss = criterion(model, x, labels_of(x))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    assert distance(parameter_gradients(model, loss), wanted) <= tolerance


def test_siren_splits_into_micro_batches_though_its_masks_do_not_balance() -> None:
    """Means over all points: the mean of the halves, of which one may have no surface point at all."""
    torch.manual_seed(0)
    model, x = Sine(), torch.randn(8, zoo.FEATURES)
    y = {"on_surface": torch.tensor([1.0] * 3 + [0.0] * 5), "normals": torch.randn(8, zoo.FEATURES)}
    criterion = siren()
    halves = [criterion(model, x[rows], {name: value[rows] for name, value in y.items()}) for rows in (slice(0, 4), slice(4, 8))]
    assert criterion(model, x, y).item() == pytest.approx(sum(half.item() for half in halves) / 2, rel=1e-5)


class Distance(nn.Module):
    """A plane's true signed distance, times a scale: every part of the losses is known on paper."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x[:, :1]


def test_a_true_distance_costs_nothing() -> None:
    x = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, 0.5]])
    y = {"normals": torch.tensor([[1.0, 0, 0]] * 2), "sigma": torch.tensor([0.1, 0.2]), "on_surface": torch.ones(2)}
    for recipe in (igr(), siren()):
        assert recipe(Distance(1.0), x, y).item() == pytest.approx(0, abs=1e-9)
    assert igr()(Distance(3.0), x, y).item() == pytest.approx(0.1 * 2**2 + 2)  # the norm of the difference, 2, and not its square
    assert igr(normals=None)(Distance(3.0), x, y).item() == pytest.approx(0.1 * 2**2)
    assert siren()(Distance(3.0), x, y).item() == pytest.approx(50 * 2)  # the cosine does not see the length
    assert siren()(Distance(-1.0), x, y).item() == pytest.approx(100 * 2)  # inside out


def test_points_near_the_samples_have_the_widths_asked_for() -> None:
    seen = []

    @ig.term
    def look(batch: Any) -> Tensor:
        seen.append(Near("sigma", -1.0, 1.0, share=0.5).inputs(batch))
        return batch.output[:, 0]

    torch.manual_seed(0)
    x, sigma = 5 + torch.zeros(2000, 3), torch.cat((torch.full((1000,), 0.1), torch.full((1000,), 2.0)))
    ig.InputGradientLoss(None, look)(Distance(1.0), x, {"sigma": sigma})
    near, everywhere = seen[0][:2000], seen[0][2000:]
    assert everywhere.shape == (1000, 3)
    assert everywhere.abs().max() <= 1
    assert near[:1000].std().item() == pytest.approx(0.1, rel=0.05)
    assert near[1000:].std().item() == pytest.approx(2.0, rel=0.05)
    assert near.mean().item() == pytest.approx(5, abs=0.1)


BAD = {
    "sigma below zero": (lambda: Near(-0.1), "sigma must be a width, at least 0"),
    "box the wrong way round": (lambda: Near(0.1, 1.0, -1.0), "low must not be above high"),
    "boxes of two shapes": (lambda: Near(0.1, torch.zeros(2), torch.ones(3)), r"low has shape \[2\] and high \[3\]"),
    "share below zero": (lambda: Near(0.1, share=-1), "share must be at least 0"),
    "sigma per sample": (lambda: igr()(Distance(1.0), torch.zeros(4, 3), {"normals": torch.ones(4, 3), "sigma": torch.ones(3)}), r"one per sample, \[4\]"),
    "no sigma": (lambda: igr()(Distance(1.0), torch.zeros(4, 3), {"normals": torch.ones(4, 3)}), "sigma='sigma' is not a part of the target"),
    "normals of another shape": (lambda: igr()(Distance(1.0), torch.zeros(4, 3), {"normals": torch.ones(4, 2), "sigma": torch.ones(4)}), "wanted has shape"),
    "no mask": (lambda: siren()(Distance(1.0), torch.zeros(4, 3), {"normals": torch.ones(4, 3)}), "is not a part of the target"),
    "no dict": (lambda: siren()(Distance(1.0), torch.zeros(4, 3), torch.ones(4)), "which must then be a dict; got Tensor"),
    "mask of another number": (lambda: SurfaceOrNot()(torch.ones(4, 1), {"on_surface": torch.ones(3)}), r"one number per point in on_surface, \[4\]"),
    "two outputs": (lambda: SurfaceOrNot()(torch.ones(4, 2), {"on_surface": torch.ones(4)}), "one output per point"),
    "a weight below zero": (lambda: siren(surface=-1.0), "surface must be at least 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
