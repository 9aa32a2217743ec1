"""Losses on what a network's decisions rest on: against their papers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import heads
from inputgrad.attributions.attribute_model import attribute
from inputgrad.attributions.methods import Attribution, ExpectedGradients, InputGradient, InputTimesGradient, IntegratedGradients
from inputgrad.attributions.quadrature import quadrature
from inputgrad.perturbations.saliency_mask import SaliencyMask
from inputgrad.places.samples import Given
from inputgrad.recipes.attribution_priors import graph_attribution_prior, pixel_attribution_prior, sparse_attribution_prior
from inputgrad.recipes.explanations import right_for_the_right_reasons, saliency_guided_training
from inputgrad.terms.attribution_priors import AttributionMatch, GiniSparsity, GraphPrior, TotalVariation, gini
from tests import zoo
from tests.catalogue.harness import CLASSIFIERS, MODELS, SIZE, Entry, cases, check, labels, made

IMAGES = ("max_pool", "group_norm")
FEATURES = ("smooth", "relu", "batch_norm")
EDGES = torch.tensor([[0, 1, 2, 0], [1, 2, 4, 3]])
EDGE_WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64)


def summed_log_probabilities(output: Tensor) -> Tensor:
    """Σ_c log p_c of each sample."""
    return (output - output.logsumexp(1, keepdim=True)).sum(1)


def score_gradients(model: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """∂s_n/∂x_n of the shape of x, with its graph."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(score(model(x)).sum(), x, create_graph=True)
    return g


def of_class(y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda output: output[torch.arange(len(y)), y]


def everything(output: Tensor) -> Tensor:
    return output.sum(1)


def masks(x: Tensor) -> Tensor:
    """Irrelevant features: about a third, others in each sample."""
    return (torch.arange(x.numel(), device=x.device).reshape(x.shape) * 7 % 11 < 4).to(x)


# right for the right reasons


def reasons(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Ross et al. 2017, eq. 1: λ₁ Σ_n Σ_d (A_nd ∂/∂x_nd Σ_k log ŷ_nk)², over N for the mean."""
    g = score_gradients(model, x, summed_log_probabilities)
    return 3.0 * ((masks(x) * g) ** 2).sum() / len(x)


# attributions


def integrated(model: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor], baseline: Tensor, points: list[tuple[float, float]]) -> Tensor:
    """Sundararajan et al. 2017, eq. 3: (x_i − x′_i) Σ_k ∂F(x′ + α_k (x − x′))/∂x_i w_k."""
    total = 0
    for alpha, weight in points:
        total = total + score_gradients(model, baseline + alpha * (x - baseline), score) * weight
    return (x - baseline) * total


RIGHT = [(0.5, 0.5), (1.0, 0.5)]
MIDPOINT = [(1 / 6, 1 / 3), (3 / 6, 1 / 3), (5 / 6, 1 / 3)]
TRAPEZOID = [(0.0, 1 / 4), (0.5, 1 / 2), (1.0, 1 / 4)]
GAUSS = [(0.5 - 0.5 / math.sqrt(3), 0.5), (0.5 + 0.5 / math.sqrt(3), 0.5)]


def squares(phi: Tensor) -> Tensor:
    return (phi**2).sum() / len(phi)


def integrated_match(points: list[tuple[float, float]], constant: float) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    return lambda model, x, y: squares(integrated(model, x, of_class(y), torch.full_like(x, constant), points))


def product_match(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Shrikumar et al. 2016: x ⊙ ∂s/∂x, here matched with 1 where nothing is missing or masked."""
    phi = x * score_gradients(model, x, of_class(y))
    return (masks(x) * (phi - 1) ** 2).sum() / len(x)


def saliency_match(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return squares(score_gradients(model, x, lambda output: output[:, 1]))


def rolled_expected(model: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor], samples: int) -> Tensor:
    """Erion et al. 2021: the mean over draws of (x − x′) ∂s(x′ + α (x − x′))/∂x, x′ the batch shifted by 1, 2, …"""
    drawn = []
    for shift in range(1, samples + 1):
        other = torch.cat([x[-shift:], x[:-shift]])
        alpha = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype)
        drawn.append((x - other) * score_gradients(model, other + alpha * (x - other), score))
    return torch.stack(drawn).mean(0)


def referenced_expected(model: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor], references: Tensor, samples: int) -> Tensor:
    drawn = []
    for _ in range(samples):
        other = references[torch.randint(len(references), (len(x),))]
        alpha = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype)
        drawn.append((x - other) * score_gradients(model, other + alpha * (x - other), score))
    return torch.stack(drawn).mean(0)


def references(batch_or_x: Any) -> Tensor:
    """Samples that are no others' business: made of the inputs, so that both sides have the same."""
    x = batch_or_x if isinstance(batch_or_x, Tensor) else batch_or_x.variable(0)
    return torch.cat([0.3 - x[:3], 0.5 * x.flip(0)[:2]])


# priors


def variation(phi: Tensor) -> Tensor:
    """Ω_pixel: Σ_ℓ Σ_ij |φ_{i+1,j} − φ_ij| + |φ_{i,j+1} − φ_ij|, over N."""
    down, right = phi[..., 1:, :] - phi[..., :-1, :], phi[..., :, 1:] - phi[..., :, :-1]
    return (down.abs().sum() + right.abs().sum()) / len(phi)


def isotropic_variation(phi: Tensor) -> Tensor:
    total = torch.zeros((), dtype=phi.dtype)
    rows, columns = phi.shape[-2:]
    for i in range(rows):
        for j in range(columns):
            down = phi[..., i + 1, j] - phi[..., i, j] if i + 1 < rows else torch.zeros_like(phi[..., 0, 0])
            right = phi[..., i, j + 1] - phi[..., i, j] if j + 1 < columns else torch.zeros_like(phi[..., 0, 0])
            square = down**2 + right**2
            total = total + torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0).sum()
    return total / len(phi)


def standardized_variation(phi: Tensor) -> Tensor:
    """The authors' MNIST run: each image by itself (φ − mean) / max(σ, 1/√D), before the sum."""
    images = [(one - one.mean()) / max(one.std(correction=0), torch.tensor(one.numel() ** -0.5, dtype=one.dtype)) for one in phi]
    return variation(torch.stack(images))


def coefficient(values: Tensor) -> Tensor:
    """Gini, by all pairs."""
    return (values[:, None] - values[None, :]).abs().sum() / (2 * len(values) * values.sum())


def sparse(phi: Tensor) -> Tensor:
    """Ω_sparse = −2 G of the mean absolute attributions."""
    return -2 * coefficient(phi.abs().mean(0).flatten())


def graph(phi: Tensor) -> Tensor:
    """Ω_graph = φ̄ᵀ L φ̄ with L = D − W."""
    mean = phi.abs().mean(0).flatten()
    weights = torch.zeros(len(mean), len(mean), dtype=phi.dtype)
    for (i, j), weight in zip(EDGES.T.tolist(), EDGE_WEIGHTS, strict=True):
        weights[i, j] = weights[j, i] = weight
    return mean @ (torch.diag(weights.sum(1)) - weights) @ mean


# saliency guided training


def guided(share: float, magnitude: bool = False, pixels: bool = False) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Ismail et al. 2021, algorithm 1: KL(f(X) ‖ f(X̃)), the k features of lowest gradient from U(min, max)."""

    def reference(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        saliency = score_gradients(model, x, of_class(y)).detach()
        uniform = torch.rand_like(x)
        hidden = x.clone()
        for n in range(len(x)):
            g = saliency[n].mean(0) if pixels else saliency[n]
            lowest = torch.argsort(g.abs().flatten() if magnitude else g.flatten())[: int(share * g.numel())]
            for channel in range(len(x[n])) if pixels else (slice(None),):
                part, own = hidden[n, channel].reshape(-1), x[n, channel]
                part[lowest] = (own.min() + (own.max() - own.min()) * uniform[n, channel]).reshape(-1)[lowest]
                hidden[n, channel] = part.reshape(own.shape)
        p, q = model(x).log_softmax(1), model(hidden).log_softmax(1)
        return 2.0 * (p.exp() * (p - q)).sum() / len(x)

    return reference


def integrated_entry(rule: str, steps: int, points: list[tuple[float, float]], baseline: float) -> Entry:
    method = IntegratedGradients(steps, baseline, rule, of="label")  # type: ignore[arg-type]  # a rule from the test's table, for mypy any text
    return Entry(f"attribution_match:integrated_gradients:{rule}", lambda: AttributionMatch(method), integrated_match(points, baseline), models=CLASSIFIERS[:3])


ENTRIES = (
    Entry("right_for_the_right_reasons", lambda: right_for_the_right_reasons(3.0, mask=lambda batch: masks(batch.variable(0))), reasons, base="cross_entropy"),
    Entry("attribution_match", lambda: AttributionMatch(InputGradient(of=heads.OneOutput(1))), saliency_match, models=CLASSIFIERS[:3]),
    Entry(
        "attribution_match:input_times_gradient",
        lambda: AttributionMatch(InputTimesGradient(of="label"), lambda batch: torch.ones_like(batch.variable(0)[0]), lambda batch: masks(batch.variable(0))),
        product_match,
    ),
    integrated_entry("right", 2, RIGHT, 0.3),
    integrated_entry("gauss_legendre", 2, GAUSS, 0.1),
    Entry(
        "pixel_attribution_prior",
        lambda: pixel_attribution_prior(0.5, samples=2),
        lambda model, x, y: 0.5 * variation(rolled_expected(model, x, of_class(y), 2)),
        base="cross_entropy",
        models=IMAGES,
    ),
    Entry(
        "total_variation",
        lambda: TotalVariation(InputGradient(of="label"), isotropic=True),
        lambda model, x, y: isotropic_variation(score_gradients(model, x, of_class(y))),
        models=IMAGES,
    ),
    Entry(
        "total_variation:standardized",
        lambda: TotalVariation(InputTimesGradient(of="label"), standardized=True),
        lambda model, x, y: standardized_variation(x * score_gradients(model, x, of_class(y))),
        models=IMAGES,
    ),
    Entry(
        "sparse_attribution_prior",
        lambda: sparse_attribution_prior(0.7, references=references, samples=2),
        lambda model, x, y: 0.7 * sparse(referenced_expected(model, x, everything, references(x), 2)),
        base="cross_entropy",
        models=(*FEATURES, "max_pool"),
    ),
    Entry(
        "gini_sparsity",
        lambda: GiniSparsity(InputGradient(of="label"), factor=1),
        lambda model, x, y: sparse(score_gradients(model, x, of_class(y))) / 2,
    ),
    Entry(
        "graph_attribution_prior",
        lambda: graph_attribution_prior(0.1, edges=EDGES, weights=EDGE_WEIGHTS),
        lambda model, x, y: 0.1 * graph(rolled_expected(model, x, everything, 1)),
        base="cross_entropy",
        models=FEATURES,
    ),
    Entry("graph_prior", lambda: GraphPrior(InputGradient(), EDGES, EDGE_WEIGHTS), lambda model, x, y: graph(score_gradients(model, x, everything))),
    Entry("saliency_guided_training", lambda: saliency_guided_training(weight=2.0), guided(0.5), base="cross_entropy"),
    Entry(
        "saliency_guided_training:magnitude",
        lambda: saliency_guided_training(2.0, share=0.3, by="magnitude"),
        guided(0.3, magnitude=True),
        models=("smooth", "max_pool"),
    ),
    Entry("saliency_guided_training:pixels", lambda: saliency_guided_training(2.0, share=0.4, shared_over=1), guided(0.4, pixels=True), models=IMAGES),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


@pytest.mark.parametrize(
    "entry", [integrated_entry("midpoint", 3, MIDPOINT, 0.0), integrated_entry("trapezoid", 2, TRAPEZOID, -0.2)], ids=lambda entry: entry.name
)
def test_other_rules(entry: Entry) -> None:
    """Other points and weights of the same sum: one engine is enough."""
    check(entry, "max_pool", "double_backward")


# wrong transcriptions must fail: a factor, a sign or an order that the tests above would not see would be no test


def one_class(output: Tensor) -> Tensor:
    return output.log_softmax(1)[:, 0]


CANARIES = {
    "right_for_the_right_reasons": lambda model, x, y: 3.0 * ((masks(x) * score_gradients(model, x, one_class)) ** 2).sum() / len(x),
    "sparse_attribution_prior": lambda model, x, y: 0.35 * sparse(referenced_expected(model, x, everything, references(x), 2)),
    "graph_attribution_prior": lambda model, x, y: 0.2 * graph(rolled_expected(model, x, everything, 1)),
    "pixel_attribution_prior": lambda model, x, y: 0.5 * variation(rolled_expected(model, x, everything, 2)),
    "total_variation": lambda model, x, y: variation(score_gradients(model, x, of_class(y))),
    "attribution_match:integrated_gradients:right": integrated_match([(0.0, 0.5), (0.5, 0.5)], 0.3),
    "saliency_guided_training": guided(0.6),
    "saliency_guided_training:magnitude": guided(0.3),
}


@pytest.mark.parametrize("name", CANARIES)
def test_wrong_transcriptions_fail(name: str) -> None:
    entry = next(entry for entry in ENTRIES if entry.name == name)
    with pytest.raises(AssertionError):
        check(replace(entry, reference=CANARIES[name]), entry.models[0], "double_backward")


def test_the_order_of_the_divergence_is_the_papers() -> None:
    def reversed_order(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        saliency, uniform, hidden = score_gradients(model, x, of_class(y)).detach(), torch.rand_like(x), x.clone()
        for n in range(len(x)):
            lowest = torch.argsort(saliency[n])[: len(x[n]) // 2]
            hidden[n, lowest] = (x[n].min() + (x[n].max() - x[n].min()) * uniform[n])[lowest]
        p, q = model(x).log_softmax(1), model(hidden).log_softmax(1)
        return 2.0 * (q.exp() * (q - p)).sum() / len(x)

    entry = next(entry for entry in ENTRIES if entry.name == "saliency_guided_training")
    with pytest.raises(AssertionError):
        check(replace(entry, reference=reversed_order), "smooth", "double_backward")


# attributions


def network(name: str = "smooth") -> tuple[nn.Module, Tensor, Tensor]:
    return made(Entry("any", lambda: None, lambda *_: torch.zeros(())), name)


@pytest.mark.parametrize("rule", ["right", "left", "midpoint", "trapezoid", "gauss_legendre"])
def test_points_and_weights_integrate_what_they_should(rule: Any) -> None:
    exact = {"right": 0, "left": 0, "midpoint": 1, "trapezoid": 1, "gauss_legendre": 9}[rule]
    points = quadrature(rule, 5)
    for power in range(exact + 1):
        assert math.isclose(sum(weight * alpha**power for alpha, weight in points), 1 / (power + 1), abs_tol=1e-15)
    assert not math.isclose(sum(weight * alpha ** (exact + 1) for alpha, weight in points), 1 / (exact + 2), abs_tol=1e-10)


@pytest.mark.parametrize(("rule", "steps", "most"), [("right", 200, 1e-2), ("midpoint", 200, 1e-5), ("trapezoid", 200, 1e-5), ("gauss_legendre", 12, 1e-10)])
def test_integrated_gradients_are_complete(rule: Any, steps: int, most: float) -> None:
    """Σ_i φ_i = s(x) − s(x′), the axiom of completeness."""
    model, x, y = network()
    baseline = torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)
    phi = attribute(IntegratedGradients(steps, baseline, rule, of="label"), model, x, y)
    with torch.no_grad():
        difference = of_class(y)(model(x)) - of_class(y)(model(baseline.expand_as(x)))
    off = ((phi.sum(1) - difference).abs() / difference.abs().mean()).max()
    assert off < most
    assert rule != "right" or off > 1e-5  # the paper's own sum is the coarse one


def test_expected_gradients_are_complete_in_expectation() -> None:
    """E Σ_i φ_i = s(x) − E s(x′), within five standard errors of what was drawn."""
    model, x, y = network()
    x, others = 4 * x, 0.5 * torch.randn(20, x.shape[1], dtype=x.dtype)
    torch.manual_seed(0)
    draws = torch.stack([attribute(ExpectedGradients(others, 50, of="label"), model, x, y).sum(1) for _ in range(20)])
    with torch.no_grad():
        expected = torch.stack([out - model(others)[:, label].mean() for out, label in zip(of_class(y)(model(x)), y, strict=True)])
    error = draws.std(0) / 20**0.5
    assert ((draws.mean(0) - expected).abs() < 5 * error).all()
    assert (expected.abs() > 15 * error).any()  # so it is not zero that was met


@pytest.mark.parametrize("method", [InputTimesGradient(of="label"), IntegratedGradients(of="label"), IntegratedGradients(3, 0.0, "left", of="label")])
def test_on_a_linear_model_every_method_gives_weight_times_input(method: Attribution) -> None:
    model, x, y = nn.Linear(4, 3).double(), torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    assert torch.allclose(attribute(method, model, x, y), x * model.weight[y], atol=1e-14)


def test_attribute_leaves_the_model_alone_and_takes_what_a_step_would() -> None:
    model, x, y = network("batch_norm")
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    phi = attribute(InputGradient(of="loss"), model, x, y, base="cross_entropy")
    assert torch.allclose(phi, score_gradients(model, x, lambda output: F.cross_entropy(output, y, reduction="none")).detach())
    assert not phi.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(attribute(lambda batch: 2 * batch.gradient(of="loss"), model, x, y, base="cross_entropy"), 2 * phi)


@pytest.mark.parametrize("where", ["target", "callable", "of the batch's shape"])
def test_baselines_and_references_are_found_where_they_are_said_to_be(where: str) -> None:
    model, x, y = network()
    baseline = 0.1 * torch.ones_like(x)
    given: Any = {"target": "empty", "callable": lambda batch: batch.target["empty"][0], "of the batch's shape": baseline}[where]
    target = {"label": y, "empty": baseline}
    phi = attribute(IntegratedGradients(3, given), model, x, target)
    assert torch.equal(phi, attribute(IntegratedGradients(3, 0.1), model, x))
    torch.manual_seed(0)
    expected = attribute(ExpectedGradients(baseline[:1]), model, x)
    torch.manual_seed(0)
    assert torch.equal(attribute(ExpectedGradients("empty"), model, x, {"empty": baseline[:1]}), expected)


def test_the_point_at_the_input_costs_no_pass_of_its_own() -> None:
    model, x, y = network()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    attribute(IntegratedGradients(steps=3), model, x, y)
    assert len(calls) == 3


# priors


def test_the_gini_coefficient_of_extremes_and_its_ties() -> None:
    alone = torch.zeros(8, dtype=torch.float64)
    alone[3] = 2.5
    assert math.isclose(float(gini(alone)), 7 / 8)
    assert float(gini(torch.ones(8))) == 0
    values = torch.tensor([1.0, 3, 3, 0, 0, 2, 3], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(gini(values), values)
    (pairs,) = torch.autograd.grad(coefficient(values), values)
    assert torch.allclose(found, pairs, atol=1e-15)


def test_where_nothing_is_attributed_there_is_no_nan() -> None:
    model, x, y = nn.Linear(5, 3).double(), torch.zeros(6, 5, dtype=torch.float64), labels(range(6))
    nn.init.zeros_(model.weight)
    images, flat = x.reshape(6, 1, 5, 1), nn.Sequential(nn.Flatten(), model)
    product = InputTimesGradient(of="label")
    terms = [GiniSparsity(product), TotalVariation(product, isotropic=True), TotalVariation(product, standardized=True), GraphPrior(product, EDGES)]
    for term in terms:
        loss = ig.InputGradientLoss(None, term)(flat, images, y)
        loss.backward()
        assert loss == 0
        assert model.weight.grad is not None
        assert model.weight.grad.isfinite().all()


def test_a_matrix_gives_the_graph_of_its_edges() -> None:
    matrix = torch.zeros(5, 5, dtype=torch.float64)
    matrix[EDGES[0], EDGES[1]] = matrix[EDGES[1], EDGES[0]] = EDGE_WEIGHTS
    matrix.fill_diagonal_(7)
    model, x, y = network()
    for given in (matrix, matrix.to_sparse()):
        value = ig.InputGradientLoss(None, GraphPrior.of_matrix(InputGradient(), given))(model, x, y)
        assert torch.allclose(value, graph(score_gradients(model, x, everything)))
    signed = ig.InputGradientLoss(None, GraphPrior.of_matrix(InputGradient(), matrix, magnitudes=False))(model, x, y)
    mean = score_gradients(model, x, everything).mean(0)
    assert torch.allclose(signed, (EDGE_WEIGHTS * (mean[EDGES[0]] - mean[EDGES[1]]) ** 2).sum())


def test_sequences_and_channels_vary_along_their_own_axes() -> None:
    phi = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    batch = Fixed(phi)
    assert torch.allclose(TotalVariation(batch)(None).mean(), variation(phi))  # type: ignore[arg-type]
    along = phi.diff(dim=3).abs().sum() / 3
    assert torch.allclose(TotalVariation(batch, axes=1)(None).mean(), along)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Fixed:
    """Attributions as given."""

    phi: Tensor

    def __call__(self, batch: Any) -> Tensor:
        return self.phi


def test_half_precision_is_widened_before_it_is_added_up() -> None:
    phi = torch.full((2, 1, 300, 300), 1.0, dtype=torch.float16)
    phi[..., ::2] = -1
    assert TotalVariation(Fixed(phi))(None).isfinite().all()  # type: ignore[arg-type]
    assert GiniSparsity(Fixed(phi))(None) == 0  # type: ignore[arg-type]


def test_missing_labels_and_masked_features_ask_for_nothing() -> None:
    wanted = torch.tensor([1.0, math.nan, 2.0])
    phi = torch.tensor([[3.0, 9.0, 5.0]], requires_grad=True)
    term = AttributionMatch(Fixed(phi), wanted, torch.tensor([1.0, 1.0, 0.0]))
    (value,) = term(SimpleNamespace(device=phi.device))
    assert value == 4
    (gradient,) = torch.autograd.grad(value, phi)
    assert gradient.tolist() == [[4.0, 0.0, 0.0]]


@pytest.mark.parametrize("term", [GiniSparsity(InputGradient()), GraphPrior(InputGradient(), EDGES)])
def test_statistics_of_the_batch_say_that_they_are(term: ig.Term) -> None:
    """The mean over micro-batches is another number, and a share of the batch is refused."""
    model, x, y = network()
    criterion = ig.InputGradientLoss(None, term)
    whole = float(criterion(model, x, y).detach())
    halves = [float(criterion(model, part, label).detach()) for part, label in zip(x.split(3), y.split(3), strict=True)]
    assert not math.isclose(whole, sum(halves) / 2, rel_tol=1e-3)
    with pytest.raises(ValueError, match="is a statistic of the batch"):
        term.scheduled(fraction=0.5)


def test_terms_per_sample_split_into_micro_batches() -> None:
    model, x, y = network("max_pool")
    for term in (TotalVariation(IntegratedGradients(2, 0.2)), AttributionMatch(InputTimesGradient())):
        criterion = ig.InputGradientLoss(None, term)
        halves = [float(criterion(model, part, label).detach()) for part, label in zip(x.split(3), y.split(3), strict=True)]
        assert math.isclose(float(criterion(model, x, y).detach()), sum(halves) / 2, rel_tol=1e-12)


# saliency masks


def test_the_mask_hides_the_share_it_should_within_the_samples_range() -> None:
    model, x, y = network("max_pool")
    caught: list[Tensor] = []

    def keep(batch: ig.Batch) -> Tensor:
        caught.extend((SaliencyMask(0.25)(batch), SaliencyMask(0.25, shared_over=1)(batch), SaliencyMask(0.001)(batch)))
        return batch.output.sum()

    ig.InputGradientLoss(None, ig.term(per="batch")(keep))(model, x, y)
    features, pixels, nothing = caught
    assert ((features != x).flatten(1).sum(1) == int(0.25 * x[0].numel())).all()
    assert ((pixels != x).all(1) == (pixels != x).any(1)).all()
    assert ((pixels != x)[:, 0].flatten(1).sum(1) == int(0.25 * x[0, 0].numel())).all()
    assert torch.equal(nothing, x)
    assert (features.flatten(1).amin(1) >= x.flatten(1).amin(1)).all()
    assert (pixels.flatten(2).amax(2) <= x.flatten(2).amax(2)).all()
    lowest = score_gradients(model, x, of_class(y)).flatten(1).topk(int(0.25 * x[0].numel()), largest=False).values[:, -1:]
    assert (score_gradients(model, x, of_class(y)).flatten(1)[(features != x).flatten(1)].reshape(len(x), -1) <= lowest + 1e-15).all()


# what is refused


def run(term: Any, name: str = "smooth") -> Tensor:
    model, x, y = network(name)
    return ig.InputGradientLoss(None, term)(model, x, y)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: IntegratedGradients(steps=0), ValueError, "IntegratedGradients: steps must be a whole number, at least 1; got 0"),
        (lambda: IntegratedGradients(rule="rigth"), ValueError, "did you mean 'right'"),  # type: ignore[arg-type]
        (lambda: IntegratedGradients(baseline=None), TypeError, "IntegratedGradients: baseline must be a tensor"),  # type: ignore[arg-type]
        (lambda: ExpectedGradients(samples=1.5), ValueError, "ExpectedGradients: samples must be a whole number"),  # type: ignore[arg-type]
        (lambda: ExpectedGradients([1, 2]), TypeError, "ExpectedGradients: references must be a tensor"),  # type: ignore[arg-type]
        (lambda: TotalVariation(InputGradient), TypeError, "TotalVariation: attribution must be an attribution method"),
        (lambda: TotalVariation(InputGradient(), axes=0), ValueError, "TotalVariation: axes must be a number of dimensions, at least 1; got 0"),
        (lambda: GiniSparsity(InputGradient(), factor=-1), ValueError, "GiniSparsity: factor must be positive"),
        (lambda: GraphPrior(InputGradient(), torch.ones(2, 3)), ValueError, r"integer tensor \[2, E\] of at least one edge; got a tensor of shape \[2, 3\]"),
        (lambda: GraphPrior(InputGradient(), torch.tensor([[-1], [0]])), ValueError, "feature numbers from 0"),
        (lambda: GraphPrior(InputGradient(), EDGES, torch.ones(3)), ValueError, r"one number of at least 0 for each edge, \[4\]; got a tensor of shape \[3\]"),
        (lambda: GraphPrior(InputGradient(), EDGES, -EDGE_WEIGHTS), ValueError, "weights must be one number of at least 0"),
        (lambda: GraphPrior.of_matrix(InputGradient(), torch.ones(2, 3)), ValueError, r"must be square, \[D, D\]; got a tensor of shape \[2, 3\]"),
        (lambda: GraphPrior.of_matrix(InputGradient(), torch.ones(2, 2).triu()), ValueError, "must be symmetric"),
        (lambda: AttributionMatch(InputGradient(), mask=0.5), TypeError, "AttributionMatch: mask must be a tensor"),  # type: ignore[arg-type]
        (lambda: SaliencyMask(1.0), ValueError, "SaliencyMask: share must be the share of features to mask, above 0 and below 1; got 1.0"),
        (lambda: SaliencyMask(by="size"), ValueError, "SaliencyMask: by='size'"),  # type: ignore[arg-type]
        (lambda: attribute(3, *network()), TypeError, "attribute: method must be an attribution method"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings(make: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (AttributionMatch(InputGradient(heads.EachOutput())), r"InputGradient needs a head of one score per sample, and of=EachOutput\(\) gave a gradient"),
        (
            AttributionMatch(IntegratedGradients(4, torch.zeros(4))),
            r"baseline has shape \[4\]; expected that of one sample, \[5\], or of the batch, \[6, 5\]",
        ),
        (AttributionMatch(IntegratedGradients(baseline="empty")), "must then be a dict"),
        (
            AttributionMatch(ExpectedGradients(torch.zeros(9, 4))),
            r"references must be samples of the inputs' shape, \[R, \*\[5\]\]; got a tensor of shape \[9, 4\]",
        ),
        (AttributionMatch(ExpectedGradients(samples=6)), "need a batch of at least 7, got 6"),
        (AttributionMatch(InputGradient(), torch.zeros(3)), r"wanted has shape \[3\]"),
        (AttributionMatch(InputGradient(), mask=torch.zeros(6, 4)), r"mask has shape \[6, 4\]"),
        (TotalVariation(InputGradient()), "axes=2 needs attributions of 3 dimensions or more"),
        (TotalVariation(lambda batch: batch.output.sum()), "attributions must be a tensor"),
        (GraphPrior(InputGradient(), torch.tensor([[0], [5]])), r"edges name feature 5, and a sample has the features 0\.\.4"),
        (right_for_the_right_reasons(mask=torch.zeros(2, 2)), r"mask has shape \[2, 2\]"),
        (right_for_the_right_reasons(mask="mask"), "must then be a dict"),
        (saliency_guided_training(of=heads.EachOutput()), "SaliencyMask needs inputs"),
        (saliency_guided_training(shared_over=1), "shared_over=1 must be a dimension of the input other than the first"),
        (AttributionMatch(IntegratedGradients(steps=2, wrt="module:0")), "a place moves inputs"),
    ],
)
def test_bad_calls(term: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(term)


def test_one_output_leaves_saliency_guided_training_nothing_to_compare() -> None:
    model, x = MODELS["scalar"][0]().double(), zoo.features(SIZE)
    with pytest.raises(ValueError, match="output"):
        ig.InputGradientLoss(None, saliency_guided_training(of="output"))(model, x, torch.zeros(SIZE, 1))


def test_places_without_attributions_are_the_input_gradient_there() -> None:
    """What every method is made of: the library's gradient at a given place."""
    model, x, y = network()
    there = 0.5 * x + 0.1
    phi = attribute(lambda batch: batch.gradient(of="label", at=Given(there)), model, x, y)
    assert torch.allclose(phi, score_gradients(model, there, of_class(y)).detach())


# other kinds of inputs, and training


def test_one_logit_has_two_log_probabilities() -> None:
    """The head that the recipe names for one logit is that of the two logits (0, z)."""
    model, x = MODELS["scalar"][0]().double(), zoo.features(SIZE)
    mask = torch.ones(zoo.FEATURES, dtype=x.dtype)

    def both(output: Tensor, target: Any) -> Tensor:
        return (2 * F.logsigmoid(output) - output).sum(1)

    value = ig.InputGradientLoss(None, right_for_the_right_reasons(mask=mask, of=both))(model, x)
    two = nn.Sequential(model, Padded())
    assert torch.allclose(value, ig.InputGradientLoss(None, right_for_the_right_reasons(mask=mask))(two, x))
    assert value > 0


class Padded(nn.Module):
    """z as the two logits (0, z)."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(z), z], 1)


def test_the_input_is_named_as_the_model_calls_it() -> None:
    model, (a, b) = zoo.TwoInputs().double(), zoo.two_of_features(SIZE)
    y = labels(a)
    phi = attribute(IntegratedGradients(steps=8, rule="gauss_legendre", of="label", wrt="b"), model, {"a": a, "b": b}, y)
    with torch.no_grad():
        difference = of_class(y)(model(a, b)) - of_class(y)(model(a, torch.zeros_like(b)))
    assert torch.allclose(phi.sum(1), difference, atol=1e-6)
    assert torch.allclose(attribute(ExpectedGradients(b[:1], wrt=1), model, (a, b))[0], torch.zeros_like(b[0]), atol=1e-15)  # the reference itself


def test_saliency_masks_hide_tokens_at_their_embeddings() -> None:
    model, inputs = zoo.Tokens().double(), zoo.token_inputs(SIZE)
    mask = SaliencyMask(0.5, shared_over=2, wrt="module:embedding")
    caught: list[Tensor] = []

    def keep(batch: ig.Batch) -> Tensor:
        caught.append((mask(batch) != batch.variable("module:embedding")).all(2))
        return batch.output.sum()

    target = torch.arange(SIZE) % zoo.OUTPUTS
    ig.InputGradientLoss(None, ig.term(per="batch", wrt="module:embedding")(keep))(model, inputs, target)
    assert (caught[0].sum(1) == 2).all()  # of 4 tokens
    loss = ("cross_entropy" + saliency_guided_training(shared_over=2, wrt="module:embedding"))(model, inputs, target)
    loss.backward()
    assert model.embedding.weight.grad is not None


@pytest.mark.parametrize(
    ("prior", "measure"),
    [
        (lambda: sparse_attribution_prior(1.0), lambda phi: -coefficient(phi.abs().mean(0))),
        (lambda: graph_attribution_prior(5.0, edges=EDGES), graph),
        (lambda: TotalVariation(InputGradient(), axes=1), lambda phi: phi.diff(dim=1).abs().sum(1).mean()),
    ],
)
def test_training_with_a_prior_makes_attributions_as_it_says(prior: Callable[[], Any], measure: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(64, zoo.FEATURES, dtype=torch.float64)
    target = (x @ torch.tensor([1.0, 0.8, 0.2, 0.1, 0.0], dtype=x.dtype))[:, None]
    measured = []
    for criterion in (ig.InputGradientLoss("mse"), ig.InputGradientLoss("mse") + 1.0 * prior()):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(zoo.FEATURES, 16), nn.SiLU(), nn.Linear(16, 1)).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            criterion(model, x, target).backward()
            optimizer.step()
        measured.append(float(measure(attribute(InputTimesGradient(), model, x))))
    plain, trained = measured
    assert trained < plain - 0.1 * abs(plain)
