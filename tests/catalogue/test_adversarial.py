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
from inputgrad.engines import Compiled
from inputgrad.perturbations.attacks import PGD, Noise, VirtualAdversarial
from inputgrad.perturbations.fgsm import FGSM
from inputgrad.perturbations.persistent import ExternalAttack, PersistentPerturbation
from inputgrad.recipes import adversarial, smoothness
from inputgrad.terms.adversarial import Adversarial, AdversarialPath, MisclassificationAware
from inputgrad.terms.consistency import Consistency
from inputgrad.terms.linearity import GradientAlignment, LeastLinear, LocalLinearity, SignDirection
from tests import zoo
from tests.catalogue.harness import CLASSIFIERS, MODELS, SIZE, Entry, cases, check
from tests.textbook import distance, finite, parameter_gradients
from tests.traced import BACKEND

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
        d = unit(ascent(lambda z: kl(clean, model(z)), x + 0.01 * d))
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
    Entry("fast_adversarial", lambda: adversarial.fast_adversarial(epsilon=EPSILON), replacing(wong), models=FROZEN, **LABELLED),
    Entry("pgd_adversarial", lambda: adversarial.pgd_adversarial(epsilon=EPSILON, steps=3, step_size=0.2), replacing(madry), models=FROZEN, **LABELLED),
    Entry(
        "pgd_adversarial_l2",
        lambda: adversarial.pgd_adversarial(epsilon=EPSILON, norm="l2", steps=3, step_size=0.2),
        replacing(madry_l2),
        models=SMOOTH,
        **LABELLED,
    ),
    Entry("trades", lambda: adversarial.trades(epsilon=EPSILON, steps=2, step_size=0.2), trades, models=FROZEN),
    Entry("mart", lambda: adversarial.mart(epsilon=EPSILON, steps=2, step_size=0.2).terms, mart, models=FROZEN),
    Entry("vat", lambda: adversarial.vat(epsilon=EPSILON, iterations=2), vat, models=SMOOTH),
    Entry("grad_align", lambda: smoothness.grad_align(epsilon=EPSILON), grad_align, **LABELLED),
    Entry(
        "grad_align_held",
        lambda: smoothness.grad_align(epsilon=EPSILON, hold_clean=True),
        functools.partial(grad_align, hold=True),
        models=("smooth",),
        **LABELLED,
    ),
    Entry("local_linearity", lambda: smoothness.local_linearity(epsilon=EPSILON, steps=2, step_size=0.2), llr, models=FROZEN, **LABELLED),
    Entry("curvature", lambda: smoothness.curvature(h=EPSILON), cure, **LABELLED),
    Entry("curvature_norm", lambda: smoothness.curvature(h=EPSILON, squared=False), functools.partial(cure, power=1), models=("smooth",), **LABELLED),
    Entry("smart", lambda: smoothness.smart(wrt=0, epsilon=EPSILON, step_size=0.2, start=0.1), smart, models=FROZEN),
    Entry("free_lb", lambda: smoothness.free_lb(wrt=0, epsilon=EPSILON, step_size=0.2), replacing(free_lb), models=FROZEN, **LABELLED),
    Entry("r3f", lambda: smoothness.r3f(wrt=0, size=EPSILON), r3f, models=FROZEN),
)


VARIANTS = ("pgd_adversarial_l2", "grad_align_held", "curvature_norm")
"""Settings of entries above them, whose form of compiled program is made there already: compiling takes seconds."""


@pytest.mark.parametrize(("entry", "model", "engine"), [case for case in cases(ENTRIES) if not (case.values[0].name in VARIANTS and "compiled" in case.values)])
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


# tokens: the embedding moves


def body(model: nn.Module, embedded: Tensor, mask: Tensor) -> Tensor:
    return model.head((model.body(embedded) * mask[..., None]).sum(1))


def token_free_lb(model: nn.Module, x: Any, y: Tensor) -> Tensor:
    """Zhu 2020 with padding: D counts the features that move."""
    mask = x["mask"][..., None]
    e = model.embedding(x["input_ids"])
    delta = EPSILON * uniform(e).detach() * mask / (mask.sum((1, 2), keepdim=True) * e.shape[2]).sqrt()
    losses = []
    for _ in range(3):
        losses.append(F.cross_entropy(body(model, e + delta, x["mask"]), y))
        here = (e + delta).detach()
        g = ascent(lambda z: F.cross_entropy(body(model, z, x["mask"]), y, reduction="none"), here)
        delta = in_ball(delta + 0.2 * unit(g), EPSILON)
    return sum(losses) / 3 - F.cross_entropy(body(model, e, x["mask"]), y)


def token_smart(model: nn.Module, x: Any, y: Tensor) -> Tensor:
    e = model.embedding(x["input_ids"])
    clean = body(model, e, x["mask"])
    z = e.detach() + 0.1 * torch.randn_like(e)
    g = ascent(lambda z: both_kl(clean.detach(), body(model, z, x["mask"])), z)
    z = z + 0.2 * torch.stack([row / row.abs().max() for row in g])
    delta = (z - e.detach()).clamp(-EPSILON, EPSILON)
    return both_kl(clean, body(model, e + delta, x["mask"])).mean()


def token_r3f(model: nn.Module, x: Any, y: Tensor, hold: bool = False) -> Tensor:
    e = model.embedding(x["input_ids"])
    noisy = (e.detach() if hold else e) + EPSILON * uniform(e).detach()
    return both_kl(body(model, e, x["mask"]), body(model, noisy, x["mask"])).mean()


EMBEDDING = "module:embedding"
TOKEN_ENTRIES = {
    "free_lb": (lambda: smoothness.free_lb(wrt=EMBEDDING, epsilon=EPSILON, step_size=0.2, mask=lambda batch: batch.inputs["mask"]), token_free_lb),
    "smart": (lambda: smoothness.smart(wrt=EMBEDDING, epsilon=EPSILON, step_size=0.2, start=0.1), token_smart),
    "r3f": (lambda: smoothness.r3f(wrt=EMBEDDING, size=EPSILON), token_r3f),
    "r3f_held": (lambda: smoothness.r3f(wrt=EMBEDDING, size=EPSILON, hold_variable=True), functools.partial(token_r3f, hold=True)),
}


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward", "finite_difference", "compiled"])
@pytest.mark.parametrize("name", TOKEN_ENTRIES)
def test_embeddings_move_and_learn(name: str, engine: str) -> None:
    if engine == "compiled" and name != "r3f_held":
        return  # the others' form of program is made above
    terms, reference = TOKEN_ENTRIES[name]
    torch.manual_seed(0)
    model, inputs, target = zoo.Tokens().double(), zoo.token_inputs(SIZE), torch.arange(SIZE) % zoo.OUTPUTS
    twin = copy.deepcopy(model)
    torch.manual_seed(4)
    wanted = reference(twin, inputs, target)
    wanted = wanted + F.cross_entropy(twin(**inputs).logits, target)
    torch.manual_seed(4)
    chosen = Compiled(backend=BACKEND) if engine == "compiled" else engine
    loss = ig.InputGradientLoss("cross_entropy", [terms()], engine=chosen)(model, inputs, target)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)
    found, expected = parameter_gradients(model, loss), parameter_gradients(twin, wanted)
    assert distance(found, expected) < 1e-10
    assert found["embedding.weight"] is not None


# the formulas' factors, signs and orders: a transcription with one wrong must not agree


def valued(terms: Any, model: str = "smooth", base: str | None = None, seed: int = 4) -> float:
    make, inputs = MODELS[model]
    torch.manual_seed(0)
    network, x = make().double(), inputs(SIZE)
    torch.manual_seed(seed)
    return ig.InputGradientLoss(base, terms)(network, x, torch.arange(SIZE) % zoo.OUTPUTS).item()


def network() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    make, inputs = MODELS["smooth"]
    return make().double(), inputs(SIZE), torch.arange(SIZE) % zoo.OUTPUTS


def shifted(batch: ig.Batch) -> Tensor:
    return batch.variable(0) + 0.7


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("kl", lambda p, q: F.kl_div(q.log_softmax(1), p.softmax(1), reduction="batchmean")),
        ("reverse_kl", lambda p, q: F.kl_div(p.log_softmax(1), q.softmax(1), reduction="batchmean")),
        ("symmetric_kl", lambda p, q: both_kl(p, q).mean()),
        ("mse", F.mse_loss),
    ],
)
def test_each_divergence_is_torchs_and_the_mean_is_over_samples(kind: Any, reference: Any) -> None:
    model, x, y = network()
    value = ig.InputGradientLoss(None, [Consistency(shifted, kind)])(model, x, y).item()
    wanted = reference(model(x), model(x + 0.7)).item()
    assert value == pytest.approx(wanted, rel=1e-12)
    wrong = {
        "reverse_order": reference(model(x + 0.7), model(x)).item() if kind in ("kl", "reverse_kl") else 2 * wanted,
        "mean_over_classes": wanted / zoo.OUTPUTS,
        "half": wanted / 2,
    }
    assert all(abs(value - other) > 1e-3 * abs(value) for other in wrong.values())


def of_parameters(loss: Tensor, model: nn.Module) -> Tensor:
    """The parameter gradient as one vector, in tensors of its own."""
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, list(model.parameters()))])


def test_which_branches_learn() -> None:
    """VAT's p(x) is a constant, TRADES detaches nothing: another gradient, the same value."""
    model, x, y = network()
    found = {hold: of_parameters(ig.InputGradientLoss(None, [Consistency(shifted, hold_clean=hold)])(model, x, y), model) for hold in (True, False)}
    assert torch.allclose(found[True], of_parameters(kl(model(x).detach(), model(x + 0.7)).mean(), model), rtol=1e-10, atol=1e-14)
    assert torch.allclose(found[False], of_parameters(kl(model(x), model(x + 0.7)).mean(), model), rtol=1e-10, atol=1e-14)
    assert (found[True] - found[False]).norm() > 0.1 * found[True].norm()


def test_wrong_transcriptions_do_not_agree() -> None:
    """KL the other way, λ = 6 for MART's 5, δ of another draw, a norm for its square."""
    model, x, _ = network()
    value = valued(adversarial.trades(epsilon=EPSILON, steps=2, step_size=0.2))
    torch.manual_seed(4)
    clean = model(x).detach()
    assert value == pytest.approx(6 * kl(clean, model(worst(lambda z: kl(clean, model(z)), x))).mean().item(), rel=1e-10)
    torch.manual_seed(4)
    backwards = 6 * kl(model(worst(lambda z: kl(clean, model(z)), x)), clean).mean().item()
    assert value != pytest.approx(backwards, rel=1e-4)  # KL is nearly symmetric for near neighbours; the agreement above is 1e-10
    attack = {"steps": 2, "step_size": 0.2}
    assert valued(adversarial.mart(6.0, epsilon=EPSILON, **attack).terms) > 1.00002 * valued(adversarial.mart(5.0, epsilon=EPSILON, **attack).terms)
    assert valued(smoothness.curvature(h=EPSILON), base="cross_entropy") != pytest.approx(
        valued(smoothness.curvature(h=EPSILON, squared=False), base="cross_entropy"), rel=1e-2
    )
    assert valued(smoothness.r3f(wrt=0, size=EPSILON), seed=4) != pytest.approx(valued(smoothness.r3f(wrt=0, size=EPSILON), seed=5), rel=1e-3)


# attacks


def made_by(perturbation: Any, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    found: list[Tensor] = []

    @ig.term
    def catch(batch: ig.Batch) -> Tensor:
        found.append(perturbation(batch))
        return batch.output.sum(1)

    ig.InputGradientLoss("cross_entropy", [catch])(model, x, y)
    return found[0]


def test_pgd_does_what_its_loop_says_and_never_goes_through_the_clamp() -> None:
    """A point out of range is not frozen by the bounds' zero derivative; it is clipped after the step."""
    model, x, y = network()
    x = x.sigmoid()
    start = x + 3
    moved = made_by(PGD(4.0, steps=1, step_size=2.5, start=lambda batch: start, bounds=(0, 1)), model, x, y)
    wanted = (start + 2.5 * ascent(lambda z: own_losses(model, z, y), start).sign()).clamp(0, 1)
    assert torch.equal(moved, wanted)
    assert bool((moved < 1).any())


@pytest.mark.parametrize("order", ["project_first", "clip_first"])
def test_both_orders_in_l2_end_in_ball_and_bounds(order: Any) -> None:
    model, x, y = network()
    x = x.sigmoid()
    moved = made_by(PGD(0.8, steps=4, norm="l2", bounds=(0, 1), order=order), model, x, y)
    assert bool(((moved - x).norm(dim=1) <= 0.8 + 1e-12).all())
    assert torch.equal(moved, moved.clamp(0, 1))
    delta = 2 * ascent(lambda z: own_losses(model, z, y), x)
    step = made_by(PGD(0.8, steps=1, step_size=2.0, norm="l2", bounds=(0, 1), order=order, start="none", scaling="none"), model, x, y)
    inside = in_ball((x + delta).clamp(0, 1) - x, 0.8) if order == "clip_first" else in_ball(delta, 0.8)
    assert torch.allclose(step, (x + inside).clamp(0, 1), atol=1e-12)


def test_the_directions_of_pgd_and_their_lengths() -> None:
    model, x, y = network()
    g = ascent(lambda z: own_losses(model, z, y), x)
    steps = {"sign": g.sign(), "unit": unit(g), "max": g / g.abs().amax(1, keepdim=True), "none": g}
    for scaling, step in steps.items():
        up = made_by(PGD(9.0, steps=1, step_size=0.5, start="none", scaling=scaling), model, x, y)
        down = made_by(PGD(9.0, steps=1, step_size=0.5, start="none", scaling=scaling, move="descend"), model, x, y)
        assert torch.allclose(up - x, 0.5 * step, atol=1e-12)
        assert torch.allclose(down - x, -0.5 * step, atol=1e-12)


def test_one_step_from_x_is_fgsm_and_more_steps_raise_the_loss() -> None:
    model, x, y = network()
    assert torch.allclose(made_by(PGD(0.3, steps=1, step_size=0.3, start="none"), model, x, y), made_by(FGSM(0.3), model, x, y))
    near = [own_losses(model, made_by(PGD(0.3, steps=steps, start="none"), model, x, y), y).mean().item() for steps in (0, 1, 10)]
    assert near[0] < near[1] < near[2] + 1e-9


@pytest.mark.parametrize(("draw", "largest"), [("uniform", 0.5 * zoo.FEATURES**0.5), ("ball", 0.5), ("inscribed", 0.5)])
def test_noise_stays_in_its_body(draw: Any, largest: float) -> None:
    torch.manual_seed(0)
    x, y = torch.zeros(2000, zoo.FEATURES, dtype=torch.float64), torch.zeros(2000, dtype=torch.long)
    model, _, _ = network()
    lengths = made_by(Noise(0.5, draw), model, x, y).norm(dim=1)
    assert 0.8 * largest < lengths.max() <= largest
    if draw == "ball":  # ‖u‖ has the distribution r^D
        assert float((lengths / 0.5).pow(zoo.FEATURES).mean()) == pytest.approx(0.5, abs=0.03)


def test_masked_positions_stay() -> None:
    model, x, y = network()
    mask = torch.tensor([1, 1, 0, 1, 0]).expand(SIZE, -1)
    for perturbation in (Noise(0.5, mask=mask), PGD(0.3, mask=mask), PGD(0.3, norm="l2", mask=lambda batch: mask)):
        changed = made_by(perturbation, model, x, y) != x
        assert torch.equal(changed, mask.bool())


@pytest.mark.parametrize("perturbation", [PGD(0.2), PGD(0.2, norm="l2", of="kl"), VirtualAdversarial(0.5), LeastLinear(0.2), FGSM(0.2)], ids=repr)
def test_attacks_touch_nothing(perturbation: Any) -> None:
    torch.manual_seed(0)
    model, x, y = zoo.with_batch_norm().double(), zoo.features(SIZE), torch.arange(SIZE) % zoo.OUTPUTS
    twin = copy.deepcopy(model)
    twin(x)  # one step is one update of the running statistics
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (nn.CrossEntropyLoss() + Adversarial(perturbation))(model, x, y)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True))
    assert x.grad is None
    assert not x.requires_grad


def test_a_sample_without_a_gradient_stays_and_gives_no_nan() -> None:
    torch.manual_seed(0)
    model, x, y = zoo.Deaf().double(), zoo.features(SIZE), torch.arange(SIZE) % zoo.OUTPUTS
    deaf = torch.arange(SIZE) % 2 == 1
    moved = made_by(PGD(0.3, norm="l2", start="none"), model, x, y)
    assert torch.equal(moved[deaf], x[deaf])
    assert bool((moved[~deaf] != x[~deaf]).any())
    assert torch.equal(made_by(VirtualAdversarial(0.3), model, x, y)[deaf], x[deaf])
    for term in (
        smoothness.grad_align(1.0, epsilon=0.3),
        smoothness.curvature(h=0.3, squared=False),
        smoothness.local_linearity(epsilon=0.3),
        adversarial.vat(epsilon=0.3),
    ):
        assert finite(parameter_gradients(model, ig.InputGradientLoss("cross_entropy", term)(model, x, y)))


def test_grad_align_keeps_or_drops_samples_without_a_gradient() -> None:
    torch.manual_seed(0)
    model, x, y = zoo.Deaf().double(), zoo.features(SIZE), torch.arange(SIZE) % zoo.OUTPUTS
    values = {}
    for zero in ("keep", "drop"):
        torch.manual_seed(4)
        criterion = nn.CrossEntropyLoss() + smoothness.grad_align(1.0, epsilon=0.3, zero_gradients=zero)
        values[zero] = criterion.evaluate(model, x, y).parts["gradient_alignment"].item()
    assert values["keep"] == pytest.approx((values["drop"] + 1) / 2, rel=1e-10)  # half of the samples, each of them 1


# free adversarial training


def test_free_training_carries_delta_and_the_parameters_see_the_old_one() -> None:
    model, x, y = network()
    twin = copy.deepcopy(model)
    criterion = ig.InputGradientLoss("cross_entropy", adversarial.free_adversarial(epsilon=EPSILON, step_size=0.2))
    optimisers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, twin)]
    delta = torch.zeros_like(x)
    for _ in range(4):
        optimisers[0].zero_grad()
        loss = criterion(model, x, y)
        loss.backward()
        optimisers[0].step()
        moving = (x + delta).requires_grad_()
        optimisers[1].zero_grad()
        wanted = F.cross_entropy(twin(moving), y)
        wanted.backward()  # one backward pass gives both
        optimisers[1].step()
        delta = (delta + 0.2 * moving.grad.sign()).clamp(-EPSILON, EPSILON)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    (state,) = criterion.get_extra_state()["terms"].values()
    assert torch.equal(state["delta"], delta)


def test_delta_is_kept_stands_still_in_validation_and_fits_other_batches() -> None:
    model, x, y = network()

    def made() -> ig.InputGradientLoss:
        return ig.InputGradientLoss("cross_entropy", adversarial.free_adversarial(epsilon=EPSILON))

    criterion = made()
    criterion(model, x, y)
    after = criterion.get_extra_state()["terms"]["adversarial"]["delta"].clone()
    with torch.no_grad():
        criterion(model, x, y)
    criterion.eval()(model, x, y)
    assert torch.equal(criterion.get_extra_state()["terms"]["adversarial"]["delta"], after)
    again = made()
    again.load_state_dict(criterion.state_dict())
    assert again(model, x, y).item() == criterion(model, x, y).item()
    criterion.train()(model, x[:2], y[:2])  # the last, smaller batch
    kept = criterion.get_extra_state()["terms"]["adversarial"]["delta"]
    assert kept.shape == x.shape
    assert torch.equal(kept[2:], after[2:])
    criterion(model, torch.cat((x, x)), torch.cat((y, y)))
    assert len(criterion.get_extra_state()["terms"]["adversarial"]["delta"]) == 2 * SIZE


# attacks of other libraries


def test_an_attack_of_foolbox_is_ours_and_leaves_the_model_alone() -> None:
    foolbox = pytest.importorskip("foolbox")
    torch.manual_seed(0)
    model, x, y = zoo.with_batch_norm().float(), zoo.features(SIZE).float().sigmoid(), torch.arange(SIZE) % zoo.OUTPUTS
    twin = copy.deepcopy(model)

    def attack(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        images, labels = foolbox.utils.ep.astensors(x, target)
        made = foolbox.attacks.LinfPGD(steps=4, abs_stepsize=0.05, random_start=False)
        return made.run(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=0.1).raw

    perturbation = ExternalAttack(attack)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = made_by(perturbation, model, x, y)
    twin(x)  # the step's own pass is the one that counts
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True))
    assert float((theirs - x).abs().max()) == pytest.approx(0.1, abs=1e-6)
    model.eval()
    ours = made_by(PGD(0.1, steps=4, step_size=0.05, start="none", bounds=(0, 1)), model, x, y)
    assert torch.allclose(made_by(perturbation, model, x, y), ours, atol=1e-6)
    loss = (nn.CrossEntropyLoss() + 1.0 * Adversarial(perturbation, instead=True))(model, x, y)
    assert loss.item() == pytest.approx(F.cross_entropy(model(ours), y).item(), rel=1e-5)


# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(-0.1), "epsilon must be at least 0"),
        (lambda: PGD(0.1, steps=-1), "steps must be a whole number, at least 0"),
        (lambda: PGD(0.1, step_size=-1.0), "step_size must be at least 0"),
        (lambda: PGD(0.1, norm="l3"), "norm='l3'"),
        (lambda: PGD(0.1, bounds=(1, 0)), "low < high"),
        (lambda: PGD(0.1, start="random"), "start='random'"),
        (lambda: PGD(0.1, move="up"), "move='up'"),
        (lambda: PGD(0.1, order="first"), "order='first'"),
        (lambda: PGD(0.1, scaling="l1"), "scaling='l1'"),
        (lambda: Noise(-1.0), "size must be at least 0"),
        (lambda: Noise(1.0, "gauss"), "draw='gauss'"),
        (lambda: VirtualAdversarial(float("inf")), "epsilon must be at least 0 and finite"),
        (lambda: VirtualAdversarial(1.0, iterations=0), "iterations must be a whole number, at least 1"),
        (lambda: PersistentPerturbation(0.1, bounds=(2, 1)), "low < high"),
        (lambda: LeastLinear(0.1, start="none"), "the one point where"),
        (lambda: LeastLinear(0.1, of="kl"), 'leave of="loss"'),
        (lambda: SignDirection(-1.0), "h must be at least 0"),
        (lambda: Consistency(FGSM(0.1), "kld"), "divergence='kld'"),
        (lambda: GradientAlignment(Noise(0.1), zero_gradients="skip"), "zero_gradients='skip'"),
        (lambda: LocalLinearity(LeastLinear(0.1), lambda_=-1.0), "lambda_ must be at least 0"),
        (lambda: MisclassificationAware(FGSM(0.1), float("nan")), "lambda_ must be at least 0"),
        (lambda: smoothness.free_lb(wrt=0, steps=0), "steps must be a whole number"),
    ],
)
def test_bad_settings_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(0.1), "takes a perturbation object"),
        (lambda: Consistency(FGSM), "takes a perturbation object"),
        (lambda: AdversarialPath(FGSM(0.1)), "must be a PGD"),
        (lambda: ExternalAttack("pgd"), "must be a callable"),
    ],
)
def test_bad_kinds_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("terms", "change", "message"),
    [
        (Consistency(FGSM(0.1, of="output")), "one_output", "at least two classes"),
        (MisclassificationAware(FGSM(0.1, of="output")), "one_output", "at least two classes"),
        (MisclassificationAware(FGSM(0.1, of="output")), "float_labels", "integer classes"),
        (Adversarial(FGSM(0.1, of="output")), None, "needs a base loss"),
        (Consistency(PGD(0.1, of=ig.heads.EachOutput())), None, "one score per sample"),
        (Consistency(Noise(0.1, mask=torch.ones(2, 2))), None, "mask must have the first dimensions"),
        (Consistency(ExternalAttack(lambda model, x, y: x[:1])), None, "a tensor of the shape of the input"),
        (Consistency(lambda batch: batch.variable(0)[:, :2]), None, "has shape"),
    ],
)
def test_bad_batches_are_named(terms: Any, change: str | None, message: str) -> None:
    model, x, y = network()
    if change == "one_output":
        model = nn.Sequential(model, nn.Linear(zoo.OUTPUTS, 1).double())
    with pytest.raises(ValueError, match=message):
        ig.InputGradientLoss(None, [terms])(model, x, y.double() if change == "float_labels" else y)


def test_a_place_cannot_move_an_inner_module() -> None:
    model, x, y = network()
    with pytest.raises(ValueError, match="a place moves inputs"):
        (nn.CrossEntropyLoss() + smoothness.curvature(h=0.1, wrt="module:1"))(model, x, y)


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="tensor under 'delta'"):
        PersistentPerturbation(0.1).load_state({"mean": torch.zeros(())})
    with pytest.raises(ValueError, match="carries nothing"):
        Adversarial(FGSM(0.1)).load_state({"delta": torch.zeros(())})
