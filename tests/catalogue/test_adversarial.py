"""Adversarial training, consistency and local linearity: against their papers."""

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.attacks import PGD, Noise, VirtualAdversarial
from inputgrad.carried import Carried, Foreign
from inputgrad.perturb import FGSM
from inputgrad.recipes import adversarial, smoothness
from inputgrad.terms.adversarial import Adversarial, AdversarialPath, MisclassificationAware
from inputgrad.terms.consistency import Consistency
from inputgrad.terms.linearity import Curvature, GradientAlignment, LeastLinear, LocalLinearity, SignDirection
from tests import zoo
from tests.catalogue.harness import CLASSIFIERS, MODELS, SIZE, Entry, cases, check
from tests.textbook import distance, parameter_gradients

EPSILON = 0.3
FROZEN = tuple(name for name in CLASSIFIERS if name != "batch_norm")
"""For transcriptions that run the model many times: running statistics would go on at each of their passes, not in the library's."""
SMOOTH = ("smooth", "group_norm", "attention")

# what the papers write


def own_losses(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y, reduction="none")


def ascent(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """∂ score/∂x at x, a constant."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(x).sum(), x)[0].detach()


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(softmax p ‖ softmax q), a sum over classes."""
    return (p.softmax(1) * (p.softmax(1).log() - q.softmax(1).log())).sum(1)


def both_kl(p: Tensor, q: Tensor) -> Tensor:
    return kl(p, q) + kl(q, p)


def uniform(like: Tensor) -> Tensor:
    return 2 * torch.rand_like(like) - 1


def unit(v: Tensor) -> Tensor:
    return v / v.flatten(1).norm(dim=1).reshape(-1, *[1] * (v.dim() - 1))


def in_ball(delta: Tensor, radius: float) -> Tensor:
    return torch.stack([row * min(1.0, radius / row.norm().item()) for row in delta])


def wong(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Wong 2020, algorithm 3: the loss at x + δ alone."""
    delta = EPSILON * uniform(x)
    delta = delta + 1.25 * EPSILON * ascent(lambda z: own_losses(model, z, y), x + delta).sign()
    return own_losses(model, x + delta.clamp(-EPSILON, EPSILON), y).mean()


def madry(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Madry 2018, L∞, three steps of 0.2."""
    z = x + EPSILON * uniform(x)
    for _ in range(3):
        z = z + 0.2 * ascent(lambda z: own_losses(model, z, y), z).sign()
        z = x + (z - x).clamp(-EPSILON, EPSILON)
    return own_losses(model, z, y).mean()


def madry_l2(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The same in ‖·‖₂: a start uniform in the ball, unit steps, projection."""
    direction = unit(torch.randn_like(x))
    radii = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype) ** (1 / x[0].numel())
    delta = EPSILON * direction * radii
    for _ in range(3):
        delta = in_ball(delta + 0.2 * unit(ascent(lambda z: own_losses(model, z, y), x + delta)), EPSILON)
    return own_losses(model, x + delta, y).mean()


def worst(score: Callable[[Tensor], Tensor], x: Tensor, start: float = 0.001, size: float = 0.2) -> Tensor:
    """The attack of TRADES and MART: from normal noise, two sign steps, inside the box."""
    z = x + start * torch.randn_like(x)
    for _ in range(2):
        z = z + size * ascent(score, z).sign()
        z = x + (z - x).clamp(-EPSILON, EPSILON)
    return z


def trades(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Zhang 2019: β KL(p(x) ‖ p(x̃)), β = 6, the gradient through both."""
    clean = model(x).detach()
    return 6 * kl(model(x), model(worst(lambda z: kl(clean, model(z)), x))).mean()


def mart(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Wang 2020: the boosted cross-entropy and λ KL (1 − p_y), λ = 5."""
    z = worst(lambda z: own_losses(model, z, y), x)
    p, q = model(x).softmax(1), model(z).softmax(1)
    total = torch.zeros((), dtype=x.dtype)
    for n, label in enumerate(y.tolist()):
        rival = max(q[n, k] for k in range(q.shape[1]) if k != label)
        divergence = sum(p[n, k] * (p[n, k].log() - q[n, k].log()) for k in range(q.shape[1]))
        total = total - q[n, label].log() - (1 - rival).log() + 5 * divergence * (1 - p[n, label])
    return total / len(x)


def vat(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Miyato 2018, algorithm 1, two iterations: p(x) constant."""
    clean = model(x).detach()
    d = unit(torch.randn_like(x))
    for _ in range(2):
        d = unit(ascent(lambda z: kl(clean, model(z)), x + 1e-3 * d))
    return kl(clean, model(x + EPSILON * d)).mean()


def with_graph(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(own_losses(model, x, y).sum(), x, create_graph=True)[0].flatten(1)


def grad_align(model: nn.Module, x: Tensor, y: Tensor, hold: bool = False) -> Tensor:
    """Andriushchenko 2020, λ = 0.2."""
    g, h = with_graph(model, x, y), with_graph(model, x + EPSILON * uniform(x), y)
    return 0.2 * (1 - F.cosine_similarity(g.detach() if hold else g, h)).mean()


def llr(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Qin 2019, λ = 4, μ = 3: one δ in both parts."""
    g0 = ascent(lambda z: own_losses(model, z, y), x).flatten(1)
    l0 = own_losses(model, x, y).detach()
    delta = EPSILON * uniform(x)
    for _ in range(2):
        up = ascent(lambda z: (own_losses(model, z, y) - l0 - ((z - x).flatten(1) * g0).sum(1)).abs(), x + delta)
        delta = (delta + 0.2 * up.sign()).clamp(-EPSILON, EPSILON)
    slope = (delta.flatten(1) * with_graph(model, x, y)).sum(1)
    return (4 * (own_losses(model, x + delta, y) - own_losses(model, x, y) - slope).abs() + 3 * slope.abs()).mean()


def cure(model: nn.Module, x: Tensor, y: Tensor, power: int = 2) -> Tensor:
    """Moosavi-Dezfooli 2019, γ = 4, h = 0.3."""
    z = unit(ascent(lambda z: own_losses(model, z, y), x).sign())
    return 4 * ((with_graph(model, x + EPSILON * z, y) - with_graph(model, x, y)).norm(dim=1) ** power).mean()


def smart(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Jiang 2020: symmetrised KL at the end of one step, the gradient over its largest entry, projected."""
    clean = model(x).detach()
    z = x + 0.1 * torch.randn_like(x)
    g = ascent(lambda z: both_kl(clean, model(z)), z)
    z = z + 0.2 * torch.stack([row / row.abs().max() for row in g])
    z = x + (z - x).clamp(-EPSILON, EPSILON)
    return both_kl(model(x), model(z)).mean()


def free_lb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Zhu 2020, K = 3: the mean of the losses at δ₀, δ₁, δ₂, in place of the base loss."""
    delta = EPSILON * uniform(x) / x[0].numel() ** 0.5
    total = torch.zeros((), dtype=x.dtype)
    for _ in range(3):
        total = total + own_losses(model, x + delta, y).mean() / 3
        delta = in_ball(delta + 0.2 * unit(ascent(lambda z, d=delta: own_losses(model, z, y), x + delta)), EPSILON)
    return total


def r3f(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Aghajanyan 2021: the symmetrised KL under uniform noise."""
    return both_kl(model(x), model(x + EPSILON * uniform(x))).mean()


def free(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Shafahi 2019: at the first step δ = 0, so the parameters see the clean loss."""
    return own_losses(model, x, y).mean()


def replacing(reference: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What such a term adds to a base loss that it replaces."""
    return lambda model, x, y: reference(model, x, y) - own_losses(model, x, y).mean()


LABELLED: dict[str, Any] = {"base": "cross_entropy"}
ENTRIES = (
    Entry("fast_adversarial", lambda: adversarial.fast_adversarial(EPSILON), replacing(wong), models=FROZEN, **LABELLED),
    Entry("pgd_adversarial", lambda: adversarial.pgd_adversarial(EPSILON, steps=3, step_size=0.2), replacing(madry), models=FROZEN, **LABELLED),
    Entry(
        "pgd_adversarial_l2", lambda: adversarial.pgd_adversarial(EPSILON, norm="l2", steps=3, step_size=0.2), replacing(madry_l2), models=SMOOTH, **LABELLED
    ),
    Entry("trades", lambda: adversarial.trades(EPSILON, steps=2, step_size=0.2), trades, models=FROZEN),
    Entry("mart", lambda: adversarial.mart(EPSILON, steps=2, step_size=0.2).terms, mart, models=FROZEN),
    Entry("vat", lambda: adversarial.vat(EPSILON, iterations=2), vat, models=SMOOTH),
    Entry("grad_align", lambda: smoothness.grad_align(EPSILON), grad_align, **LABELLED),
    Entry("grad_align_held", lambda: smoothness.grad_align(EPSILON, hold_clean=True), functools.partial(grad_align, hold=True), models=("smooth",), **LABELLED),
    Entry("local_linearity", lambda: smoothness.local_linearity(EPSILON, steps=2, step_size=0.2), llr, models=FROZEN, **LABELLED),
    Entry("curvature", lambda: smoothness.curvature(EPSILON), cure, **LABELLED),
    Entry("curvature_norm", lambda: smoothness.curvature(EPSILON, squared=False), functools.partial(cure, power=1), models=("smooth",), **LABELLED),
    Entry("smart", lambda: smoothness.smart(0, epsilon=EPSILON, step_size=0.2, start=0.1), smart, models=FROZEN),
    Entry("free_lb", lambda: smoothness.free_lb(0, EPSILON, step_size=0.2), replacing(free_lb), models=FROZEN, **LABELLED),
    Entry("r3f", lambda: smoothness.r3f(0, size=EPSILON), r3f, models=FROZEN),
)


VARIANTS = ("pgd_adversarial_l2", "grad_align_held", "curvature_norm")
"""Settings of entries above them, whose form of compiled program is made there already: compiling takes seconds."""


@pytest.mark.parametrize(("entry", "model", "engine"), [case for case in cases(ENTRIES) if not (case.values[0].name in VARIANTS and "compiled" in case.values)])
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)
