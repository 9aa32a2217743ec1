"""Signs and directions of the input gradient: against their papers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import heads
from inputgrad.places.sampling import Uniform
from inputgrad.recipes.constraints import Towards, certified_monotone, gradient_alignment, locally_independent, no_arbitrage, perceptually_aligned
from inputgrad.terms.diversity import MemberLogOdds, MemberLosses, PairwiseCosine
from inputgrad.terms.monotone import Convex, Monotone
from tests import zoo
from tests.catalogue.harness import MODELS, SCALARS, Entry, cases, check, labels, prices
from tests.textbook import distance, finite, parameter_gradients

MEMBERS = 3


class Ensemble(nn.Module):
    """Networks side by side, their outputs stacked ``[N, M, C]``."""

    def __init__(self, activation: type[nn.Module] = nn.SiLU, outputs: int = zoo.OUTPUTS) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Sequential(nn.Linear(zoo.FEATURES, 6), activation(), nn.Linear(6, outputs)) for _ in range(MEMBERS))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members], 1)


class Surface(nn.Module):
    """A smooth function of five numbers that neither rises nor curves one way throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(zoo.FEATURES, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sin(self.first(x)))


MODELS.update(
    ensemble=(Ensemble, zoo.features),
    ensemble_relu=(lambda: Ensemble(nn.LeakyReLU), zoo.features),
    ensemble_of_two_classes=(lambda: Ensemble(outputs=2), zoo.features),
    surface=(Surface, zoo.features),
)
LOW, HIGH = torch.tensor([-1.0, -2.0, 0.0, -1.0, 0.5]), torch.tensor([1.0, 2.0, 1.0, 0.0, 0.5])


def slopes(model: nn.Module, x: Tensor) -> Tensor:
    """∂f/∂x ``[N, D]`` of a model of one output, with its graph."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]


def uniform(n: int) -> Tensor:
    return LOW.double() + (HIGH - LOW).double() * torch.rand(n, zoo.FEATURES, dtype=torch.float64)


def monotone(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Liu et al. 2020: f must rise with feature 0 and fall with feature 3; here at the data."""
    g = slopes(model, x)
    return 3 * (torch.clamp(-g[:, 0], min=0) ** 2 + torch.clamp(g[:, 3], min=0) ** 2).mean()


def monotone_in_the_box(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    g = slopes(model, uniform(16))
    return 2 * (torch.clamp(-g[:, 0], min=0) ** 2 + torch.clamp(g[:, 3], min=0) ** 2).mean()


def monotone_at_the_worst(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """The authors' code: the worst of all points and features, the slope short of 0.2."""
    g = slopes(model, uniform(16))
    return 2 * torch.stack((torch.clamp(0.2 - g[:, 0], min=0) ** 2, torch.clamp(0.2 + g[:, 3], min=0) ** 2)).max()


def monotone_in_each_output(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    x = x.detach().clone().requires_grad_()
    output = model(x)
    total = torch.zeros(())
    for row in range(output.shape[1]):
        (g,) = torch.autograd.grad(output[:, row].sum(), x, create_graph=True)
        total = total + torch.clamp(0.1 + g.flatten(1)[:, -1], min=0).mean()
    return total


def second(model: nn.Module, x: Tensor, i: int) -> Tensor:
    """∂²f/∂x_i² ``[N]``."""
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return torch.autograd.grad(g[:, i].sum(), x, create_graph=True)[0][:, i]


def convex(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Convex along feature 1, concave along feature 2, by a margin."""
    return (torch.clamp(0.05 - second(model, x, 1), min=0) ** 2 + torch.clamp(0.05 + second(model, x, 2), min=0) ** 2).mean()


def arbitrage(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Chataigner, Crépey & Dixon 2020: the negative parts of ∂P/∂T and of ∂²P/∂k²; T is feature 0, k feature 1."""
    return 2 * torch.clamp(-slopes(model, x)[:, 0], min=0).mean() + 5 * torch.clamp(-second(model, x, 1), min=0).mean()


def member_gradients(scores: Tensor, x: Tensor) -> list[Tensor]:
    return [torch.autograd.grad(scores[:, m].sum(), x, create_graph=True)[0] for m in range(MEMBERS)]


def cos(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1) / ((a**2).sum(1).sqrt() * (b**2).sum(1).sqrt())


def alignment(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Kariyappa & Qureshi 2019: log Σ exp of the cosines of the loss gradients, over pairs."""
    x = x.detach().clone().requires_grad_()
    losses = torch.stack([F.cross_entropy(output, y, reduction="none") for output in model(x).unbind(1)], 1)
    g = member_gradients(losses, x)
    return 0.5 * sum(cos(g[i], g[j]).exp() for i in range(MEMBERS) for j in range(i + 1, MEMBERS)).log().mean()


def mean_alignment(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    losses = torch.stack([((output - 1) ** 2).mean(1) for output in model(x).unbind(1)], 1)
    g = member_gradients(losses, x)
    return torch.stack([cos(g[i], g[j]) for i in range(MEMBERS) for j in range(i + 1, MEMBERS)]).mean()


def independence(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Ross et al. 2020: the squared cosine of the gradients of the log-odds, over pairs."""
    x = x.detach().clone().requires_grad_()
    probabilities = model(x).log_softmax(2)
    g = member_gradients(probabilities[:, :, 1] - probabilities[:, :, 0], x)
    return 0.01 * sum(((g[i] * g[j]).sum(1) ** 2 / ((g[i] ** 2).sum(1) * (g[j] ** 2).sum(1))).mean() for i in range(MEMBERS) for j in range(i))


IMAGES = torch.linspace(-2, 2, zoo.OUTPUTS * zoo.FEATURES, dtype=torch.float64).reshape(zoo.OUTPUTS, zoo.FEATURES).sin()


def perceptual(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Ganz, Kawar & Elad 2023: 1 − cos of each class's input gradient with the direction to an image of the class, the mean over classes."""
    x = x.detach().clone().requires_grad_()
    output = model(x)
    total = torch.zeros(())
    for label, image in enumerate(IMAGES):
        (g,) = torch.autograd.grad(output[:, label].sum(), x, create_graph=True)
        total = total + (1 - cos(g, image - x.detach())).mean() / len(IMAGES)
    return 0.7 * total


def directed(model: nn.Module, x: Tensor, y: dict[str, Tensor]) -> Tensor:
    return (y["counts"] * (1 - cos(slopes(model, x), y["direction"]))).mean()


def directions(x: Tensor) -> dict[str, Tensor]:
    return {"counts": (torch.arange(len(x)) % 3 > 0).double(), "direction": x.cos()}


def ones(x: Tensor) -> Tensor:
    return torch.ones(len(x), zoo.OUTPUTS, dtype=torch.float64)


def compiled_once(params: list[Any]) -> list[Any]:
    """Without the compiled cases of entries whose program is that of others, or differs in a few elementwise operations: a trace takes seconds."""
    alike = ("pairwise_cosine_mean", "locally_independent", "perceptually_aligned", "no_arbitrage")
    return [param for param in params if param.values[2] != "compiled" or param.values[0].name not in alike]


SIGNS = {0: +1, 3: -1}
SMOOTH = ("surface", "scalar")
ENSEMBLES = ("ensemble", "ensemble_relu")
ENTRIES = (
    Entry("monotone", lambda: 3 * Monotone(SIGNS), monotone, prices, "mse", SCALARS),
    Entry("certified_monotone", lambda: certified_monotone(2.0, features=SIGNS, low=LOW, high=HIGH, n=16), monotone_in_the_box, prices, None, SCALARS),
    Entry(
        "certified_monotone_worst",
        lambda: certified_monotone(2.0, features=SIGNS, low=LOW, high=HIGH, n=16, margin=0.2, reduction="max"),
        monotone_at_the_worst, prices, None, SCALARS,
    ),
    Entry("monotone_rows", lambda: Monotone({-1: -1}, margin=0.1, power=1, of=heads.EachOutput()), monotone_in_each_output),
    Entry("convex", lambda: Convex({1: +1, 2: -1}, margin=0.05, power=2), convex, prices, "mse", SMOOTH),
    Entry("no_arbitrage", lambda: no_arbitrage(maturity=0, strike=1, calendar=2.0, butterfly=5.0), arbitrage, prices, "mse", SMOOTH),
    Entry("gradient_alignment", gradient_alignment, alignment, models=ENSEMBLES),
    Entry("pairwise_cosine_mean", lambda: PairwiseCosine(MemberLosses("mse"), pairs="mean"), mean_alignment, ones, models=ENSEMBLES),
    Entry("locally_independent", locally_independent, independence, models=("ensemble_of_two_classes",)),
    Entry(
        "perceptually_aligned", lambda: perceptually_aligned(0.7, representatives=IMAGES), perceptual,
        base="cross_entropy", models=("smooth", "relu", "batch_norm"),
    ),
    Entry("direction_match", lambda: ig.DirectionMatch("direction", mask="counts"), directed, directions, models=SCALARS),
)  # fmt: skip


@pytest.mark.parametrize(("entry", "model", "engine"), compiled_once(cases(ENTRIES)))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def reversed_signs(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    g = slopes(model, x)
    return 3 * (torch.clamp(g[:, 0], min=0) ** 2 + torch.clamp(-g[:, 3], min=0) ** 2).mean()


CANARIES = (
    replace(ENTRIES[0], name="reversed signs", reference=reversed_signs),
    replace(ENTRIES[0], name="mean over features", reference=lambda model, x, y: monotone(model, x, y) / 2),
    replace(ENTRIES[2], name="no margin", terms=lambda: certified_monotone(2.0, features=SIGNS, low=LOW, high=HIGH, n=16, reduction="max")),
    replace(ENTRIES[4], name="concave", terms=lambda: Convex({1: -1, 2: +1}, margin=0.05, power=2)),
    replace(ENTRIES[6], name="pairs twice", reference=lambda model, x, y: alignment(model, x, y) + 0.5 * torch.log(torch.tensor(2.0))),
    replace(ENTRIES[7], name="squared", terms=lambda: PairwiseCosine(MemberLosses("mse"), pairs="mean", power=2)),
    replace(ENTRIES[8], name="pairs twice", reference=lambda model, x, y: 2 * independence(model, x, y)),
    replace(ENTRIES[10], name="mean over the mask", reference=lambda model, x, y: directed(model, x, y) / y["counts"].mean()),
)  # fmt: skip


@pytest.mark.parametrize("canary", CANARIES, ids=[f"{canary.name} of {canary.models[0]}" for canary in CANARIES])
def test_a_wrong_formula_is_seen(canary: Entry) -> None:
    with pytest.raises(AssertionError) as told:
        check(canary, canary.models[0], "double_backward")
    assert "does not pull at the parameters" not in str(told.value)


def of(term: Any, model: nn.Module, x: Any, y: Any = None) -> Tensor:
    return ig.InputGradientLoss(None, term)(model, x, y)


class Known(nn.Module):
    """f = a x₀² − b x₁ + x₂, with derivatives on paper."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return (self.a * x[:, 0] ** 2 - self.b * x[:, 1] + x[:, 2])[:, None]


POINTS = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 5.0, 1.0]])


@pytest.mark.filterwarnings("ignore:Convex. the second derivative of Known in its input is zero")  # along one feature it is, and the term says so
@pytest.mark.parametrize(
    ("term", "value"),
    [
        (Monotone({0: +1}), (0 + 8**2) / 2),  # the slope 2 a x₀ is 4 and −8: only the second has the wrong sign
        (Monotone({0: -1}), 4**2 / 2),
        (Monotone({0: +1}, power=1), 8 / 2),
        (Monotone({0: +1, 1: +1}, power=1), (3 + 8 + 3) / 2),
        (Monotone({1: -1}), 0.0),
        (Monotone({1: -1}, margin=4.0), 1.0),
        (Monotone({2: +1}, margin=1.5, power=1), 0.5),
        (Monotone({0: +1, 1: +1}, margin=0.5, reduction="max"), 8.5**2),
        (Convex({0: -1}), 4.0),
        (Convex({0: +1}), 0.0),
        (Convex({0: -1}, margin=1.0, power=2), 25.0),
        (Convex({1: +1}, margin=0.5), 0.5),  # linear along this feature
    ],
)  # fmt: skip
def test_hinges_on_paper(term: Any, value: float) -> None:
    """The side on which a sign costs, the margin, the power and the sum: none of them can be the other way round."""
    assert of(term, Known(), POINTS).item() == pytest.approx(value)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0))

    def forward(self, weight: Tensor, year: Tensor) -> Tensor:
        return self.a * weight - year[:, :1] + 0 * year[:, 1:]


def test_features_may_be_inputs_by_name() -> None:
    inputs = {"weight": torch.ones(4, 1), "year": torch.ones(4, 2)}
    assert of(Monotone({"weight": -1, "year": +1}, power=1), Named(), inputs).item() == pytest.approx(2 + 1)
    assert of(Monotone({"weight": +1}), Named(), inputs).item() == 0


def test_a_satisfied_constraint_pulls_at_nothing() -> None:
    model = Known()
    for term in (Monotone({1: -1}), Convex({0: +1})):
        gradients = parameter_gradients(model, of(term, model, POINTS))
        assert all(gradient is None or not gradient.any() for gradient in gradients.values())


def test_the_worst_is_a_statistic_of_the_batch() -> None:
    """Two micro-batches give another value, and a share of the batch is refused."""
    model, term = Known(), Monotone({0: +1}, reduction="max")
    halves = [of(term, model, half).item() for half in POINTS.split(1)]
    assert of(term, model, POINTS).item() == max(halves) != sum(halves) / 2
    with pytest.raises(ValueError, match="statistic of the batch"):
        term.scheduled(fraction=0.5)
    whole, parts = (of(Monotone({0: +1}), model, x) for x in (POINTS, POINTS))
    assert whole.item() == parts.item() == pytest.approx(sum(of(Monotone({0: +1}), model, half).item() for half in POINTS.split(1)) / 2)


@pytest.mark.parametrize("bounds", [(LOW, HIGH), (LOW.tolist(), tuple(HIGH.tolist()))], ids=["tensors", "lists"])
def test_uniform_points_fill_the_box_and_are_drawn_anew(bounds: Any) -> None:
    place, seen = Uniform(*bounds, 500), []

    @ig.term
    def look(batch: Any) -> Tensor:
        seen.append(place.inputs(batch))
        return batch.output[:, 0]

    torch.manual_seed(0)
    x = torch.zeros(3, zoo.FEATURES)
    of(look, Surface(), x), of(look, Surface(), x)
    points = seen[0]
    assert points.shape == (500, zoo.FEATURES)
    assert not torch.equal(points, seen[1])
    assert (points >= LOW).all()
    assert (points <= HIGH).all()
    assert ((points.amax(0) - points.amin(0)) >= 0.97 * (HIGH - LOW)).all()


def test_a_member_without_a_gradient_gives_no_nan() -> None:
    model = Ensemble()
    nn.init.zeros_(model.members[0][2].weight)
    loss = of(gradient_alignment(1.0), model, torch.randn(5, zoo.FEATURES), torch.arange(5) % 3)
    gradients = parameter_gradients(model, loss)
    assert loss.isfinite()
    assert finite(gradients)
    assert distance(gradients, dict.fromkeys(gradients)) > 0


def test_equal_members_are_the_worst_and_opposite_ones_the_best() -> None:
    class Pair(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.layer, self.factor = nn.Linear(4, 1), factor

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat((self.layer(x), self.factor * self.layer(x)), 1)

    x = torch.randn(3, 4)
    for factor, cosine in ((2.0, 1.0), (-0.5, -1.0)):
        assert of(PairwiseCosine(heads.EachOutput()), Pair(factor), x).item() == pytest.approx(cosine)
        assert of(PairwiseCosine(heads.EachOutput(), pairs="sum", power=2), Pair(factor), x).item() == pytest.approx(1)


class Deaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.expand(len(x), 1)


X, ZEROS = torch.randn(4, zoo.FEATURES), torch.zeros(4, dtype=torch.long)
BAD_SETTINGS: dict[str, tuple[Any, type[Exception], str]] = {
    "no features": (lambda: Monotone({}), TypeError, "features must be a dict"),
    "features as a list": (lambda: Monotone([1, 2]), TypeError, r"features must be a dict .* got \[1, 2\]"),
    "mixed features": (lambda: Monotone({0: 1, "year": 1}), TypeError, "features must be a dict"),
    "a sign of 2": (lambda: Monotone({0: 2}), ValueError, "sign of feature 0 must be"),
    "a negative margin": (lambda: Monotone({0: 1}, margin=-0.1), ValueError, "margin must be at least 0"),
    "power 3": (lambda: Convex({0: 1}, power=3), ValueError, "power must be 1 or 2, got 3"),
    "reduction": (lambda: Monotone({0: 1}, reduction="mean"), ValueError, "reduction='mean'"),
    "several inputs": (lambda: Monotone({0: 1}, wrt=(0, 1)), TypeError, "wrt names the one input"),
    "convex by name": (lambda: Convex({"year": 1}), TypeError, "features must be a dict"),
    "box the wrong way round": (lambda: Uniform(1.0, 0.0), ValueError, "low must not be above high"),
    "box of another kind": (lambda: Uniform("0", 1.0), TypeError, "low must be a number or a tensor"),
    "box of words": (lambda: Uniform(["a", "b"], 1.0), TypeError, r"low must be a number or a tensor or list .*; got \['a', 'b'\]"),
    "box without end": (lambda: Uniform(0.0, float("inf")), ValueError, "both finite"),
    "no points": (lambda: Uniform(n=0), ValueError, "n must be a number of points, at least 1"),
    "pairs": (lambda: PairwiseCosine(pairs="median"), ValueError, "pairs='median'"),
    "cosine to the third": (lambda: PairwiseCosine(power=3), ValueError, "power must be 1 or 2"),
    "no member loss": (lambda: MemberLosses(None), TypeError, "loss must be a name or a callable"),
    "one representative": (lambda: perceptually_aligned(representatives=torch.ones(5)), ValueError, r"one input a class, a tensor \[C, \*input\]"),
    "direction of a number": (lambda: ig.DirectionMatch(1.5), TypeError, "direction must be a tensor or a callable of the batch, got float"),
    "mask of a number": (lambda: ig.DirectionMatch("d", mask=1.5), TypeError, "mask must be a tensor, a name or a position"),
}  # fmt: skip
BAD_CALLS: dict[str, tuple[Any, nn.Module, Any, str]] = {
    "no such entry": (Monotone({7: 1}), Surface(), None, r"features names entry 7, and one sample of the input has 5: choose from 0..4"),
    "no such entry to curve": (Convex({5: 1}), Surface(), None, "features names entry 5"),
    "an output that does not depend on the input": (Convex({0: 1}), Deaf(), None, "does not depend on 0: no path leads"),
    "rows to curve": (Convex({0: 1}, of=heads.EachOutput()), Surface(), None, "head of one score per sample"),
    "a box of another shape": (Monotone({0: 1}, at=Uniform(torch.zeros(3), 1.0)), Surface(), None, r"low must be .* the shape of one sample, \[5\]"),
    "no ensemble": (PairwiseCosine(), nn.Linear(5, 1), ZEROS, r"stacked outputs of an ensemble, \[N, M, ...\]"),
    "three classes": (PairwiseCosine(MemberLogOdds()), Ensemble(), None, r"for two classes, \[N, M, 2\]; got \[4, 3, 3\]"),
    "a head of one row": (PairwiseCosine("output"), Ensemble(), None, "one score per member"),
    "representatives of another shape": (ig.DirectionMatch(Towards(torch.ones(3))), Surface(), None, r"shape of one sample, \[5\]; got \[3\]"),
    "mask of another number": (ig.DirectionMatch(torch.ones(5), mask=torch.ones(3)), Surface(), None, r"one number per sample, \[4\]; got \[3\]"),
    "direction that is not there": (ig.DirectionMatch("d"), Surface(), {"e": X}, "is not a part of the target"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_told(case: str) -> None:
    make, kind, message = BAD_SETTINGS[case]
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_told(case: str) -> None:
    term, model, target, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        of(term, model, X, target)


def test_labels_serve_the_classifiers_of_the_table() -> None:
    assert set(labels(X).tolist()) == {0, 1, 2}
