"""Losses on what a network's decisions rest on: against their papers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import heads
from inputgrad.attributions import Attribution, ExpectedGradients, InputGradient, InputTimesGradient, IntegratedGradients, attribute
from inputgrad.places import Given
from inputgrad.quadrature import quadrature
from inputgrad.recipes.explanations import (
    graph_attribution_prior,
    pixel_attribution_prior,
    right_for_the_right_reasons,
    saliency_guided_training,
    sparse_attribution_prior,
)
from inputgrad.saliency_mask import SaliencyMask
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
    return (torch.arange(x.numel()).reshape(x.shape) * 7 % 11 < 4).to(x)


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


RIGHT = [(k / 4, 1 / 4) for k in (1, 2, 3, 4)]
MIDPOINT = [(1 / 6, 1 / 3), (3 / 6, 1 / 3), (5 / 6, 1 / 3)]
TRAPEZOID = [(0.0, 1 / 4), (0.5, 1 / 2), (1.0, 1 / 4)]
GAUSS = [(0.5 - 0.5 * math.sqrt(3 / 5), 5 / 18), (0.5, 8 / 18), (0.5 + 0.5 * math.sqrt(3 / 5), 5 / 18)]


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
    method = IntegratedGradients(baseline, steps, rule, of="label")  # type: ignore[arg-type]
    return Entry(f"attribution_match:integrated_gradients:{rule}", lambda: AttributionMatch(method), integrated_match(points, baseline), models=CLASSIFIERS[:3])


ENTRIES = (
    Entry("right_for_the_right_reasons", lambda: right_for_the_right_reasons(lambda batch: masks(batch.variable(0)), 3.0), reasons, base="cross_entropy"),
    Entry("attribution_match", lambda: AttributionMatch(InputGradient(of=heads.OneOutput(1))), saliency_match, models=CLASSIFIERS[:3]),
    Entry(
        "attribution_match:input_times_gradient",
        lambda: AttributionMatch(InputTimesGradient(of="label"), lambda batch: torch.ones_like(batch.variable(0)[0]), lambda batch: masks(batch.variable(0))),
        product_match,
    ),
    integrated_entry("right", 4, RIGHT, 0.3),
    integrated_entry("midpoint", 3, MIDPOINT, 0.0),
    integrated_entry("trapezoid", 2, TRAPEZOID, -0.2),
    integrated_entry("gauss_legendre", 3, GAUSS, 0.1),
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
        lambda: graph_attribution_prior(EDGES, 0.1, weights=EDGE_WEIGHTS),
        lambda model, x, y: 0.1 * graph(rolled_expected(model, x, everything, 1)),
        base="cross_entropy",
        models=FEATURES,
    ),
    Entry("graph_prior", lambda: GraphPrior(InputGradient(), EDGES, EDGE_WEIGHTS), lambda model, x, y: graph(score_gradients(model, x, everything))),
    Entry("saliency_guided_training", lambda: saliency_guided_training(weight=2.0), guided(0.5), base="cross_entropy"),
    Entry(
        "saliency_guided_training:magnitude",
        lambda: saliency_guided_training(0.3, 2.0, by="magnitude"),
        guided(0.3, magnitude=True),
        models=("smooth", "max_pool"),
    ),
    Entry("saliency_guided_training:pixels", lambda: saliency_guided_training(0.4, 2.0, shared_over=1), guided(0.4, pixels=True), models=IMAGES),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)
