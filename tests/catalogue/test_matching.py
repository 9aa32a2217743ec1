"""Matching of derivative labels and scores: against their papers."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import heads
from inputgrad.recipes import matching
from inputgrad.recipes.differentials import Differentials, differential_machine_learning
from inputgrad.terms.jacobian_match import JacobianMatch
from inputgrad.terms.score_matching import DenoisingScoreMatching, SlicedEnergyMatching, SlicedScoreMatching
from tests import zoo
from tests.catalogue.harness import CLASSIFIERS, ENGINES, MODELS, SIZE, Entry, cases, check, labels
from tests.textbook import distance, finite, parameter_gradients


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """∂f_c/∂x ``[N, C, D]``, with its graph."""
    x = x.clone().requires_grad_()
    output = model(x)
    rows = [torch.autograd.grad(output[:, c].sum(), x, create_graph=True)[0].flatten(1) for c in range(output.shape[1])]
    return torch.stack(rows, 1)


def derivatives(inputs: Tensor) -> dict[str, Tensor]:
    """Labels for values and for the whole Jacobian."""
    size = (len(inputs), zoo.OUTPUTS, *inputs.shape[1:])
    return {"jacobian": torch.sin(torch.arange(torch.Size(size).numel(), dtype=torch.float64)).reshape(size)}


def teacher() -> nn.Module:
    """A network of other shape, drawn without touching the generator of the step."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return nn.Sequential(nn.Linear(zoo.FEATURES, 6), nn.Tanh(), nn.Linear(6, zoo.OUTPUTS)).double()


TEACHER = teacher()


def sobolev(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    """Czarnecki 2017, eq. 1, with the squared error."""
    return 0.3 * ((jacobian(model, x) - y["jacobian"].flatten(2)) ** 2).sum((1, 2)).mean()


def unit_directions(n: int, outputs: int) -> Tensor:
    v = torch.randn(SIZE, n, outputs, dtype=torch.float64)
    return v / (v**2).sum(2, keepdim=True).sqrt()


def sobolev_projections(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    """Czarnecki 2017, eq. 2: l(⟨v, Df⟩, ⟨v, Df*⟩) with the same v, its mean over two draws."""
    own, v = jacobian(model, x), unit_directions(2, zoo.OUTPUTS)
    gap = torch.einsum("nkc,ncd->nkd", v, own) - torch.einsum("nkc,ncd->nkd", v, y["jacobian"].flatten(2))
    return 0.3 * ((gap**2).sum(2).sum(1) / 2).mean()


def sobolev_by_teacher(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """The same with a teacher's Jacobian, and vectors of length √C: the sum estimates the exact one."""
    own, wanted, v = jacobian(model, x), jacobian(TEACHER, x).detach(), unit_directions(3, zoo.OUTPUTS)
    gap = torch.einsum("nkc,ncd->nkd", v, own - wanted)
    return ((gap**2).sum((1, 2)) * zoo.OUTPUTS / 3).mean()


def unit(rows: Tensor) -> Tensor:
    return rows / (rows**2).sum(1, keepdim=True).sqrt()


def picked(model: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    return jacobian(model, x)[torch.arange(len(x)), classes]


def jacobian_matching(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Srinivas & Fleuret 2018, eq. 10, the penalty: of the correct class, both of unit length."""
    return 0.5 * ((unit(picked(model, x, y)) - unit(picked(TEACHER, x, y).detach())) ** 2).sum(1).mean()


def jacobian_matching_largest(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    top = TEACHER(x).argmax(1)
    return ((unit(picked(model, x, top)) - unit(picked(TEACHER, x, top).detach())) ** 2).mean()


def gradients(energy: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    return x, g


def denoising(power: int) -> Callable[[nn.Module, Tensor, Any], Tensor]:
    """Vincent 2011, eq. 9: ½ ‖ψ(x̃) − (x − x̃)/σ²‖², ψ = −∂E/∂x̃."""

    def reference(model: nn.Module, x: Tensor, y: Any) -> Tensor:
        sigma = 0.4
        noisy, g = gradients(model, x + sigma * torch.randn(x.shape, dtype=x.dtype))
        wanted = (x - noisy.detach()) / sigma**2
        return 0.2 * sigma**power * ((-g - wanted) ** 2).sum(1).mean() / 2

    return reference


def sliced_score(form: str, draw: Callable[[Tensor], Tensor], n: int) -> Callable[[nn.Module, Tensor, Any], Tensor]:
    """Song 2019, eq. 7 ("plain") and 8 ("reduced")."""

    def reference(model: nn.Module, x: Tensor, y: Any) -> Tensor:
        v = draw(torch.randn(len(x), n, x.shape[1], dtype=x.dtype))
        x = x.clone().requires_grad_()
        f, total = model(x), torch.zeros(len(x), dtype=x.dtype)
        for k in range(n):
            along = (f * v[:, k]).sum(1)
            (slope,) = torch.autograd.grad(along.sum(), x, create_graph=True)
            total = total + (slope * v[:, k]).sum(1) + (along**2 if form == "plain" else (f**2).sum(1)) / 2
        return 0.5 * (total / n).mean()

    return reference


def sliced_energy(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """The same of s = −∂E/∂x: vᵀ ∂(vᵀs)/∂x = −vᵀHv."""
    v = torch.randn(len(x), 2, x.shape[1], dtype=x.dtype)
    x, g = gradients(model, x)
    total = (g**2).sum(1) / 2
    for k in range(2):
        (slope,) = torch.autograd.grad((-g * v[:, k]).sum(), x, create_graph=True)
        total = total + (slope * v[:, k]).sum(1) / 2
    return total.mean()


def training_set() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    x, y, dydx = (torch.randn(40, k, generator=g, dtype=torch.float64) for k in (zoo.FEATURES, 1, zoo.FEATURES))
    return 3 + 2 * x * torch.tensor([1.0, 2.0, 0.1, 4.0, 1.0]), 10 * y - 4, dydx * torch.tensor([1.0, 5.0, 0.2, 1.0, 1.0])


DATA = Differentials.of(*training_set())


def differential_target(inputs: Tensor) -> dict[str, Tensor]:
    _, y, dydx = training_set()
    return DATA.target(y[: len(inputs)], dydx[: len(inputs)])


def normalisation(x: Any, y: Any, dydx: Any, epsilon: float = 0.0) -> tuple[Any, ...]:
    """The formulas of Huge & Savine's notebooks, in numpy; they add epsilon = 1e-8 to the standard deviations."""
    x_std, y_std = np.std(x, axis=0) + epsilon, np.std(y, axis=0) + epsilon
    z = dydx * x_std / y_std
    return (x - x.mean(0)) / x_std, (y - y.mean(0)) / y_std, z, 1 / np.sqrt(np.mean(z**2, axis=0))


def differential_costs(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Huge & Savine 2020: the values' and the derivatives' cost, the latter the mean over the inputs of λ_j² mse_j."""
    raw_x, raw_y, raw_dydx = training_set()
    _, y, z, scale = (torch.as_tensor(part) for part in normalisation(raw_x.numpy(), raw_y.numpy(), raw_dydx.numpy()))
    _, g = gradients(model, x)
    squares = ((g - z[: len(x)]) * scale) ** 2
    return ((model(x) - y[: len(x)]) ** 2).mean(), sum(squares[:, j].mean() for j in range(x.shape[1])) / x.shape[1]


def differential(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """β = 1 − α with α = 1/(1 + λn), λ = 2: the derivatives' share."""
    return (1 - 1 / (1 + 2 * zoo.FEATURES)) * differential_costs(model, x)[1]


FLAT = ("smooth", "relu")
"""Without batch normalisation, where a row of the Jacobian of one sample is another thing than the gradient of a sum over samples of other classes."""
ENTRIES = (
    Entry(
        "sobolev_training",
        lambda: matching.sobolev_training(0.3, jacobian="jacobian"),
        sobolev,
        derivatives,
        models=(*CLASSIFIERS[:3], "batch_norm", "attention"),
    ),
    Entry("sobolev_projections", lambda: matching.sobolev_projections(0.3, wanted="jacobian", n=2), sobolev_projections, derivatives, models=CLASSIFIERS[:3]),
    Entry("sobolev_projections", lambda: matching.sobolev_projections(wanted=TEACHER, n=3, scale="isotropic"), sobolev_by_teacher, models=FLAT),
    Entry("jacobian_matching", lambda: matching.jacobian_matching(0.5, teacher=TEACHER), jacobian_matching, base="cross_entropy", models=FLAT),
    Entry("jacobian_matching", lambda: matching.jacobian_matching(teacher=TEACHER, of="largest", reduction="mean"), jacobian_matching_largest, models=FLAT),
    Entry("denoising_score_matching", lambda: matching.denoising_score_matching(0.2, sigma=0.4), denoising(0), models=("scalar", "scalar_relu")),
    Entry("denoising_score_matching", lambda: matching.denoising_score_matching(0.2, sigma=0.4, power=2), denoising(2), models=("scalar",)),
    Entry("denoising_score_matching", lambda: matching.denoising_score_matching(0.2, sigma=0.4, power=4), denoising(4), models=("scalar",)),
    Entry("sliced_score_matching", lambda: matching.sliced_score_matching(0.5), sliced_score("reduced", torch.sign, 1), models=("field",)),
    Entry(
        "sliced_score_matching",
        lambda: matching.sliced_score_matching(0.5, n=3, directions="gaussian", form="plain"),
        sliced_score("plain", lambda v: v, 3),
        models=("field",),
    ),
    Entry(
        "sliced_score_matching",
        lambda: matching.sliced_score_matching(0.5, n=2, directions="sphere"),
        sliced_score("reduced", lambda v: v * zoo.FEATURES**0.5 / (v**2).sum(2, keepdim=True).sqrt(), 2),
        models=("field",),
    ),
    Entry("sliced_score_matching", lambda: matching.sliced_score_matching(model="energy", n=2, directions="gaussian"), sliced_energy, models=("scalar",)),
    Entry("differential_machine_learning", lambda: DATA.criterion(2.0).terms, differential, differential_target, models=("scalar", "scalar_relu")),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_differential_machine_learning_as_a_whole(engine: str) -> None:
    """α · values + β · derivatives, with the base loss; and the mean over two halves of the batch is the whole."""
    torch.manual_seed(0)
    model, x = MODELS["scalar"][0]().double(), zoo.features(SIZE)
    values, slopes = differential_costs(model, x)
    alpha = 1 / (1 + zoo.FEATURES)
    expected = alpha * values + (1 - alpha) * slopes
    wanted = parameter_gradients(copy.deepcopy(model), torch.zeros((), requires_grad=True))
    wanted = dict(zip(wanted, torch.autograd.grad(expected, list(model.parameters())), strict=True))
    criterion, target = differential_machine_learning(data=DATA), differential_target(x)
    criterion.engine = ig.InputGradientLoss("mse", engine=ENGINES[engine][0]).engine
    loss = criterion(model, x, target)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    assert distance(parameter_gradients(model, loss), wanted) < 1e-6
    halves = [criterion(model, x[rows], {key: part[rows] for key, part in target.items()}) for rows in (slice(0, 3), slice(3, 6))]
    assert sum(halves).item() / 2 == pytest.approx(loss.item(), rel=1e-12)


def test_normalisation_is_the_notebooks_and_goes_back() -> None:
    x, y, dydx = training_set()
    nx, ny, nz, scale = (torch.as_tensor(part) for part in normalisation(x.numpy(), y.numpy(), dydx.numpy(), 1e-8))
    target = DATA.target(y, dydx)
    for ours, theirs in ((DATA.inputs(x), nx), (target["y"], ny), (target["dydx"], nz), (DATA.scale, scale)):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    sample = x.std(0)  # a canary: the other divisor
    assert not torch.allclose(DATA.x_std, sample, rtol=1e-3)
    torch.testing.assert_close(DATA.values(target["y"]), y)
    torch.testing.assert_close(DATA.derivatives(target["dydx"]), dydx)


def test_derivatives_of_the_normalised_model_are_those_of_the_whole() -> None:
    """∂/∂x of x -> values(model(inputs(x))) is derivatives(∂model)."""
    model, (x, _, _) = MODELS["scalar"][0]().double(), training_set()
    raw = torch.func.vmap(torch.func.grad(lambda row: DATA.values(model(DATA.inputs(row))).squeeze()))(x)
    _, g = ig.output_and_gradient(model, DATA.inputs(x))
    torch.testing.assert_close(DATA.derivatives(g), raw)


def test_the_criterion_of_differentials_can_be_pickled() -> None:
    criterion = pickle.loads(pickle.dumps(DATA.criterion()))
    model, x = MODELS["scalar"][0]().double(), zoo.features(SIZE)
    torch.testing.assert_close(criterion(model, x, differential_target(x)), DATA.criterion()(model, x, differential_target(x)))


def test_projections_estimate_what_they_say() -> None:
    """Unit vectors give 1/C of the exact Sobolev loss, isotropic ones all of it."""
    model, x = zoo.mlp().double(), zoo.features(1).expand(40000, -1)
    wanted = derivatives(x[:1])["jacobian"]
    exact = ig.InputGradientLoss(None, JacobianMatch(wanted[0]))(model, x[:1]).item()
    torch.manual_seed(0)
    estimates = {
        scale: ig.InputGradientLoss(None, matching.sobolev_projections(wanted=wanted[0], scale=scale))(model, x).item() for scale in ("unit", "isotropic")
    }
    assert estimates["unit"] == pytest.approx(exact / zoo.OUTPUTS, rel=0.02)
    assert estimates["isotropic"] == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("of", [heads.EachOutput(), "label", heads.OneOutput(2), heads.RandomProjection(2)], ids=str)
def test_a_teacher_and_its_jacobian_as_labels_are_one(of: Any) -> None:
    x, y = zoo.features(SIZE), labels(range(SIZE))
    whole, found = jacobian(TEACHER, x).detach(), []
    for wanted in (TEACHER, whole, lambda batch: whole):
        torch.manual_seed(3)
        model = zoo.mlp().double()
        found.append(ig.InputGradientLoss(None, JacobianMatch(wanted, of=of))(model, x, y).item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[1] == found[2]


def test_images_and_several_inputs() -> None:
    model, x = zoo.cnn_group_norm().double(), zoo.images(SIZE)
    wanted = jacobian(model, x).detach().reshape(SIZE, zoo.OUTPUTS, *zoo.IMAGE)
    assert ig.InputGradientLoss(None, JacobianMatch(wanted))(model, x).item() == pytest.approx(0, abs=1e-20)
    assert ig.InputGradientLoss(None, JacobianMatch(model, of="largest", unit=True))(model, x).item() == pytest.approx(0, abs=1e-20)


def test_the_teacher_learns_nothing_and_keeps_its_mode() -> None:
    stern = teacher().train()
    before = [parameter.clone() for parameter in stern.parameters()]
    criterion = nn.CrossEntropyLoss() + matching.jacobian_matching(teacher=stern)
    criterion(zoo.mlp().double(), zoo.features(SIZE), labels(range(SIZE))).backward()
    assert all(parameter.grad is None and torch.equal(parameter, old) for parameter, old in zip(stern.parameters(), before, strict=True))
    assert stern.training
    assert "0.weight" not in criterion.state_dict()
    assert not list(criterion.parameters())


def test_no_nan_where_a_gradient_is_zero() -> None:
    model = nn.Linear(zoo.FEATURES, zoo.OUTPUTS).double()
    nn.init.zeros_(model.weight)
    loss = ig.InputGradientLoss(None, matching.jacobian_matching(teacher=TEACHER))(model, zoo.features(SIZE), labels(range(SIZE)))
    loss.backward()
    assert loss.item() == pytest.approx(1)  # ‖0 − unit‖²
    assert model.weight.grad is not None
    assert not model.weight.grad.any()


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("directions", ["rademacher", "sphere"])
@pytest.mark.parametrize("form", ["reduced", "plain"])
def test_sliced_matching_of_a_linear_score_on_paper(form: str, directions: str, n: int) -> None:
    """f = −a x: vᵀ(−a)v = −a D whatever v of length √D; with x along v the square is known too."""
    a = 0.7
    score = nn.Linear(zoo.FEATURES, zoo.FEATURES, bias=False).double()
    with torch.no_grad():
        score.weight.copy_(-a * torch.eye(zoo.FEATURES))
    x = zoo.features(4)
    zero = torch.zeros_like(x)
    term = SlicedScoreMatching(n, directions, form)  # type: ignore[arg-type]
    assert ig.InputGradientLoss(None, term)(score, zero).item() == pytest.approx(-a * zoo.FEATURES)
    if form == "reduced":
        wanted = -a * zoo.FEATURES + a**2 * (x**2).sum(1).mean() / 2
        assert ig.InputGradientLoss(None, term)(score, x).item() == pytest.approx(wanted.item())


def test_energies_and_scores_are_matched_alike() -> None:
    """E = a‖x‖²/2 has the score −a x."""

    class Bowl(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.a * (x**2).sum(1) / 2

    class Score(Bowl):
        def forward(self, x: Tensor) -> Tensor:
            return -self.a * x

    x, found = zoo.features(SIZE), []
    for model, term in ((Bowl(), SlicedEnergyMatching(3, form="plain")), (Score(), SlicedScoreMatching(3, form="plain"))):
        torch.manual_seed(1)
        loss = ig.InputGradientLoss(None, term)(model, x)
        loss.backward()
        found.append((loss.item(), model.a.grad.item()))
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize(("term", "best"), [(DenoisingScoreMatching(0.5), 1 / 1.25), (SlicedEnergyMatching(form="plain"), 1.0), (SlicedEnergyMatching(), 1.0)])
def test_the_best_energy_is_the_one_of_the_samples(term: Any, best: float) -> None:
    """Samples of N(0, 1): E = a x²/2 is right at a = 1, and at 1/(1 + σ²) for the noisy ones. A wrong sign or factor puts the optimum elsewhere."""

    class Bowl(nn.Module):
        def __init__(self, a: float) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(a))

        def forward(self, x: Tensor) -> Tensor:
            return self.a * (x**2).sum(1) / 2

    torch.manual_seed(0)
    x, slopes = torch.randn(100000, 2), []
    for a in (best - 0.1, best + 0.1):
        model = Bowl(a)
        ig.InputGradientLoss(None, term)(model, x).backward()
        slopes.append(model.a.grad.item())
    crossing = best - 0.1 + 0.2 * slopes[0] / (slopes[0] - slopes[1])
    assert slopes[0] < 0 < slopes[1]
    assert crossing == pytest.approx(best, abs=0.02)


def test_one_sigma_a_sample() -> None:
    model, x = MODELS["scalar"][0]().double(), zoo.features(SIZE)
    sigma = torch.linspace(0.1, 1, SIZE, dtype=torch.float64)
    whole, target = ig.InputGradientLoss(None, DenoisingScoreMatching("sigma", power=2)), {"sigma": sigma}
    torch.manual_seed(2)
    found = whole(model, x, target).item()
    torch.manual_seed(2)
    noise = torch.randn_like(x)
    _, g = gradients(model, x + sigma[:, None] * noise)
    assert found == pytest.approx(((sigma[:, None] * g - noise) ** 2).sum(1).mean().item() / 2, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    x, y = zoo.features(SIZE).to(dtype), labels(range(SIZE))
    for model, term in (
        (zoo.mlp(), matching.jacobian_matching(teacher=teacher().to(dtype))),
        (MODELS["field"][0](), matching.sliced_score_matching()),
        (MODELS["scalar"][0](), matching.denoising_score_matching(sigma=0.1)),
    ):
        loss = ig.InputGradientLoss(None, term)(model.to(dtype), x, y)
        assert loss.dtype == torch.float32
        loss.backward()
        assert finite({name: parameter.grad for name, parameter in model.named_parameters()})


X, Y, Z = torch.randn(8, 3), torch.randn(8, 1), torch.randn(8, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenoisingScoreMatching(0.0), r"sigma must be .* positive"),
        (lambda: DenoisingScoreMatching(-1.0), r"sigma must be .* positive"),
        (lambda: DenoisingScoreMatching(1.0, power=3), "power of sigma must be 0, 2 or 4"),  # type: ignore[arg-type]
        (lambda: SlicedScoreMatching(0), "n must be the number of directions"),
        (lambda: SlicedScoreMatching(directions="radermacher"), "did you mean 'rademacher'"),  # type: ignore[arg-type]
        (lambda: SlicedEnergyMatching(form="vr"), "form='vr'"),  # type: ignore[arg-type]
        (lambda: SlicedEnergyMatching(of="loss"), "is not an energy"),
        (lambda: matching.sliced_score_matching(model="field"), 'must be "score" or "energy"'),  # type: ignore[arg-type]
        (lambda: JacobianMatch(Z, of="largest"), "wanted is not a teacher"),
        (lambda: JacobianMatch(Z, of="output"), "must name rows of the Jacobian"),  # type: ignore[arg-type]
        (lambda: JacobianMatch(TEACHER, reduction="max"), "reduction must be"),  # type: ignore[arg-type]
        (lambda: JacobianMatch(None), "must be a tensor, a name"),  # type: ignore[arg-type]
        (lambda: Differentials.of(X, Y, Z[:, :2]), "one derivative for each input"),
        (lambda: Differentials.of(X, torch.randn(8, 2), Z), "one value per sample"),
        (lambda: Differentials.of(X[:, 0], Y, Z), r"x must be \[N, \*input\]"),
        (lambda: Differentials.of(X.long(), Y, Z), "x must be a floating-point tensor"),
        (lambda: Differentials.of(torch.ones(8, 3), Y, Z), r"x does not vary in the inputs \[0, 1, 2\]"),
        (lambda: Differentials.of(X, torch.ones(8), Z), "y does not vary over"),
        (lambda: Differentials.of(X, Y, Z * torch.tensor([1.0, 0, 1])), r"dydx is zero in the inputs \[1\]"),
        (lambda: Differentials.of(X, Y, Z * torch.nan), "no number at all"),
        (lambda: Differentials.of(X, Y, Z).criterion(-1.0), "balance is λ, at least 0"),
        (lambda: differential_machine_learning(data=(X, Y, Z)), "must be Differentials.of"),
    ],
)
def test_bad_settings_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    ("term", "model", "target", "message"),
    [
        (SlicedScoreMatching(), "smooth", None, "as many outputs as inputs"),
        (DenoisingScoreMatching(0.1, of=heads.EachOutput()), "smooth", None, "one score per sample"),
        (DenoisingScoreMatching("sigma"), "scalar", {"sigma": torch.ones(4)}, r"one per sample, \[N\] = \[6\]; got \[4\]"),
        (SlicedEnergyMatching(of=heads.EachOutput()), "smooth", None, "one energy per sample"),
        (JacobianMatch(torch.ones(SIZE, zoo.FEATURES)), "smooth", None, r"the whole Jacobian \[N, C, \*input\] = \[6, 3, 5\]"),
        (JacobianMatch("jacobian"), "smooth", {"jacobean": 1}, "jacobean"),
        (JacobianMatch(TEACHER), "scalar", None, "the teacher gives 3 rows of outputs, the model 1"),
        (JacobianMatch(TEACHER, of="label"), "smooth", torch.full((SIZE,), 7), "outside 0..2"),
    ],
)
def test_labels_of_the_wrong_shape_are_named(term: Any, model: str, target: Any, message: str) -> None:
    make, inputs = MODELS[model]
    with pytest.raises((TypeError, ValueError), match=message):
        ig.InputGradientLoss(None, term)(make().double(), inputs(SIZE), target)


def test_the_values_are_checked_too() -> None:
    with pytest.raises(ValueError, match="one value per sample"):
        DATA.criterion()(zoo.mlp().double(), zoo.features(SIZE), differential_target(zoo.features(SIZE)))
