"""Penalties on critics and generators: against their papers."""

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes import critics, generators
from inputgrad.terms.batchwise import BatchMean, BatchNoise
from inputgrad.terms.path_length import PathLength
from tests import zoo
from tests.catalogue.harness import ENGINES, SCALARS, Entry, Generator, cases, check, latents, made, scalar, steep
from tests.textbook import distance, finite, parameter_gradients

Reference = Callable[[nn.Module, Any, Any], Tensor]


def squares(critic: nn.Module, x: Tensor) -> Tensor:
    """‖∂D/∂x‖² ``[N]``, with its graph; x is a constant."""
    x = x.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (g.flatten(1) ** 2).sum(1)


def one_a_sample(x: Tensor) -> Tensor:
    return torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype)


def between(x: Tensor, fake: Tensor) -> Tensor:
    """Gulrajani et al. 2017, algorithm 1, lines 4 to 6."""
    epsilon = one_a_sample(x)
    return epsilon * x + (1 - epsilon) * fake


def wgan_gp(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """Gulrajani et al. 2017, eq. 3."""
    return 10 * ((squares(critic, between(x, fake)).sqrt() - 1) ** 2).mean()


def wgan_lp(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """Petzka et al. 2018."""
    return 10 * ((squares(critic, between(x, fake)).sqrt() - 1).clamp(min=0) ** 2).mean()


def centred_at_zero(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """GAN_stability's "wgangp0": WGAN-GP about 0, with a weight of its own."""
    return 3 * squares(critic, between(x, fake)).mean()


def around(x: Tensor, ray: bool = True) -> Tensor:
    """The authors' code of DRAGAN: 0.5 · std · U(0, 1), numpy's std over everything, and a point on the way there."""
    mean = x.sum() / x.numel()
    std = (((x - mean) ** 2).sum() / x.numel()).sqrt()
    there = x + 0.5 * std * torch.rand(x.shape, dtype=x.dtype)
    return x + one_a_sample(x) * (there - x) if ray else there


def dragan(critic: nn.Module, x: Tensor, fake: Any) -> Tensor:
    """Kodali et al. 2017, section 2, with the noise of their code."""
    return 10 * ((squares(critic, around(x)).sqrt() - 1) ** 2).mean()


def dragan_at_the_end(critic: nn.Module, x: Tensor, fake: Any) -> Tensor:
    return 10 * ((squares(critic, around(x, ray=False)).sqrt() - 1) ** 2).mean()


def dragan_of_the_text(critic: nn.Module, x: Tensor, fake: Any) -> Tensor:
    """Kodali et al. 2017, the text: x + δ with δ ~ N(0, c·1)."""
    return 10 * ((squares(critic, x + 0.3**0.5 * torch.randn(x.shape, dtype=x.dtype)).sqrt() - 1) ** 2).mean()


def r1(critic: nn.Module, x: Tensor, fake: Any) -> Tensor:
    """Mescheder et al. 2018, eq. 9, with γ = 10."""
    return 10 / 2 * squares(critic, x).mean()


def r2(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """Mescheder et al. 2018, eq. 10, with γ = 10."""
    return 10 / 2 * squares(critic, fake).mean()


def r3gan(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """Huang et al. 2024: both, with γ = 1."""
    return (squares(critic, x).mean() + squares(critic, fake).mean()) / 2


def path_lengths(generator: nn.Module, w: Tensor) -> Tensor:
    """‖J_wᵀ y‖ ``[N]``: the root of the mean over layers of the sum over features, y ~ N(0, 1)/√(H·W)."""
    w = w.detach().clone().requires_grad_()
    image = generator(w)
    y = torch.randn(image.shape, dtype=w.dtype)
    for size in image.shape[2:]:
        y = y / size**0.5
    (g,) = torch.autograd.grad((image * y).sum(), w, create_graph=True)
    return (g if g.dim() == 2 else (g**2).sum(2).mean(1).sqrt()[:, None]).norm(dim=1)


def path_penalty(lengths: Tensor, a: Tensor | float) -> tuple[Tensor, Tensor]:
    """The penalty, and the running mean after it: first a ← a + β (mean ℓ − a), then mean (ℓ − a)²."""
    a = a + 0.01 * (lengths.mean() - a)
    return ((lengths - a) ** 2).mean(), a


def path_length(generator: nn.Module, w: Tensor, target: Any) -> Tensor:
    """Karras et al. 2020, eq. 4 and appendix B, at the first step."""
    return 2 * path_penalty(path_lengths(generator, w), 0.0)[0]


def fakes(inputs: Tensor) -> Tensor:
    return torch.randn_like(inputs) + 1


def more_fakes(inputs: Tensor) -> dict[str, Tensor]:
    """In a dict, and half as many again."""
    return {"fake": torch.cat([fakes(inputs), fakes(inputs)[: len(inputs) // 2]])}


CRITICS = (*SCALARS, "group_norm", "steep")
ENTRIES = (
    Entry("wgan_gp", critics.wgan_gp, wgan_gp, fakes, models=CRITICS),
    Entry("wgan_gp", lambda: critics.wgan_gp(3, center=0), centred_at_zero, fakes, models=("scalar",)),
    Entry("wgan_lp", critics.wgan_lp, wgan_lp, fakes, models=("steep",)),
    Entry("dragan", critics.dragan, dragan, models=CRITICS),
    Entry("dragan", lambda: critics.dragan(interpolate=False), dragan_at_the_end, models=("scalar",)),
    Entry("dragan", lambda: critics.dragan(variance=0.3), dragan_of_the_text, models=("scalar",)),
    Entry("r1", critics.r1, r1, models=CRITICS),
    Entry("r1", lambda: critics.r1(5, half=False), r1, models=("scalar",)),
    Entry("r2", critics.r2, r2, fakes, models=CRITICS),
    Entry("r2", lambda: critics.r2(fake="fake"), lambda critic, x, target: r2(critic, x, target["fake"]), more_fakes, models=("scalar",)),
    Entry("r3gan", critics.r3gan, r3gan, fakes, models=CRITICS),
    Entry("lazy_r1", critics.lazy_r1, lambda critic, x, target: 16 * r1(critic, x, target), models=("scalar",)),
    Entry("path_length", generators.path_length, path_length, models=("generator", "field")),
)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


def hinge_outside(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    return 10 * ((squares(critic, between(x, fake)).sqrt() - 1) ** 2).clamp(min=0).mean()


def one_epsilon(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    epsilon = torch.rand(())
    return 10 * ((squares(critic, epsilon * x + (1 - epsilon) * fake).sqrt() - 1) ** 2).mean()


def std_of_a_sample(critic: nn.Module, x: Tensor, fake: Any) -> Tensor:
    """torch's own default, divisor n − 1."""
    there = x + 0.5 * x.std() * torch.rand(x.shape, dtype=x.dtype)
    return 10 * ((squares(critic, x + one_a_sample(x) * (there - x)).sqrt() - 1) ** 2).mean()


def detached_mean(generator: nn.Module, w: Tensor, target: Any) -> Tensor:
    lengths = path_lengths(generator, w)
    return 2 * ((lengths - 0.01 * lengths.mean().detach()) ** 2).mean()


def mean_updated_last(generator: nn.Module, w: Tensor, target: Any) -> Tensor:
    return 2 * (path_lengths(generator, w) ** 2).mean()


def summed_over_layers(generator: nn.Module, w: Tensor, target: Any) -> Tensor:
    return 2 * path_penalty(path_lengths(generator, w) * w.shape[1] ** 0.5, 0.0)[0]


def over_channels_too(generator: nn.Module, w: Tensor, target: Any) -> Tensor:
    return 2 * path_penalty(path_lengths(generator, w) / 2**0.5, 0.0)[0]


BY_NAME = {entry.name: entry for entry in reversed(ENTRIES)}
WRONG: tuple[tuple[str, Reference], ...] = (
    ("wgan_lp", hinge_outside),
    ("wgan_gp", one_epsilon),
    ("dragan", std_of_a_sample),
    ("r1", lambda critic, x, fake: 2 * r1(critic, x, fake)),
    ("r2", r1),
    ("r3gan", lambda critic, x, fake: 2 * r3gan(critic, x, fake)),
    ("lazy_r1", r1),
    ("path_length", detached_mean),
    ("path_length", mean_updated_last),
    ("path_length", summed_over_layers),
    ("path_length", over_channels_too),
)


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_the_table_tells_the_usual_mistakes(name: str, wrong: Reference) -> None:
    entry = BY_NAME[name]
    with pytest.raises(AssertionError):
        check(replace(entry, reference=wrong), entry.models[0], "double_backward")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_criterion_is_pickled_and_goes_on_alike(entry: Entry) -> None:
    model = (Generator() if entry.name == "path_length" else steep()).double()
    inputs = latents(6) if entry.name == "path_length" else zoo.features(6)
    criterion = ig.InputGradientLoss(None, entry.terms())
    both = [criterion, pickle.loads(pickle.dumps(criterion))]
    values = []
    for one in both:
        torch.manual_seed(1)
        values.append(one(model, inputs, entry.target(inputs)).item())
    assert values[0] == values[1] != 0


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "compiled"])
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_where_all_gradients_are_zero_nothing_is_nan(entry: Entry, engine: str) -> None:
    """The authors' √ has an infinite derivative there."""
    generator = entry.name == "path_length"
    model = (Generator() if generator else scalar()).double()
    with torch.no_grad():
        last = model.paint if generator else model[-1]
        last.weight.zero_()
        last.bias.zero_()
    inputs = latents(4) if generator else zoo.features(4)
    loss = ig.InputGradientLoss(None, entry.terms(), engine=engine)(model, inputs, entry.target(inputs))
    assert loss.isfinite()
    gradients = parameter_gradients(model, loss)
    if engine == "finite_difference":  # along a zero gradient there is no displaced pass, and so no graph to the parameters
        assert all(gradient is None for gradient in gradients.values())
    else:
        assert finite(gradients)


def test_the_reference_of_the_one_sided_penalty_has_norms_on_both_sides() -> None:
    model, x, fake = made(BY_NAME["wgan_lp"], "steep")
    torch.manual_seed(4)
    norms = squares(model, between(x, fake)).sqrt()
    assert norms.min() < 0.95
    assert norms.max() > 1.05


# R3GAN


def test_a_joined_batch_gives_r3gan_s_loss_and_pair_in_one_pass() -> None:
    """Huang et al. 2024: mean softplus(D(x̃) − D(x)) + γ/2 (R1 + R2)."""
    model, real = scalar().double(), zoo.features(5)
    fake, gamma = fakes(real), 0.7
    passes = 0

    def counted(*_: Any) -> None:
        nonlocal passes
        passes += 1

    textbook = F.softplus(model(fake) - model(real)).mean() + gamma * r3gan(model, real, fake)
    hook = model.register_forward_hook(counted)
    joined = ig.InputGradientLoss(critics.relativistic_pairing, gamma * ig.GradientNorm(power=2))(model, torch.cat([real, fake]))
    hook.remove()
    assert passes == 1
    apart = F.softplus(model(fake) - model(real)).mean() + ig.InputGradientLoss(None, critics.r3gan(gamma))(model, real, fake)
    wanted = parameter_gradients(model, textbook)
    for loss in (joined, apart):
        assert torch.allclose(loss, textbook, rtol=1e-12)
        assert distance(parameter_gradients(model, loss), wanted) < 1e-12


def test_gamma_may_come_down_with_the_steps() -> None:
    model, real = scalar().double(), zoo.features(4)
    criterion = ig.InputGradientLoss(None, critics.r3gan(lambda step: 1 / (1 + step)))
    values = [criterion(model, real, real).item() for _ in range(2)]
    assert values[1] == pytest.approx(values[0] / 2, rel=1e-12)


# lazy R1


def test_lazy_r1_is_due_at_each_sixteenth_step_and_sixteen_times_as_strong() -> None:
    model, real = scalar().double(), zoo.features(4)
    criterion = ig.InputGradientLoss(None, critics.lazy_r1(2.0))
    losses = [criterion(model, real).item() for _ in range(33)]
    full = ig.InputGradientLoss(None, critics.r1(2.0))(model, real).item()
    assert [step for step, loss in enumerate(losses) if loss] == [0, 16, 32]
    assert sum(losses[:32]) == pytest.approx(32 * full, rel=1e-12)


# DRAGAN


def test_dragan_is_a_statistic_of_the_batch() -> None:
    """Two halves have standard deviations of their own, so that the mean of their penalties is not that of the whole."""
    model, real = scalar().double(), zoo.features(8) * torch.tensor([0.1] * 4 + [3.0] * 4, dtype=torch.float64)[:, None]
    ones = BatchNoise(interpolate=False)
    norm = ig.GradientNorm(at=ig.Perturbed(ones))
    with pytest.raises(ValueError, match="statistic of the batch"):
        critics.dragan().scheduled(fraction=0.5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "rand_like", torch.ones_like)
        whole, *halves = (ig.InputGradientLoss(None, BatchMean(norm))(model, part).item() for part in (real, *real.split(4)))
    assert abs(sum(halves) / 2 - whole) > 1e-3 * whole
    assert abs(ig.InputGradientLoss(None, norm)(model, real).item() - whole) > 0


def test_the_mean_of_a_batch_is_that_of_the_term_and_has_its_name() -> None:
    model, real = scalar().double(), zoo.features(4)
    plain, mean = (ig.InputGradientLoss(None, term).evaluate(model, real) for term in (ig.GradientNorm(), BatchMean(ig.GradientNorm())))
    assert plain.parts == mean.parts
    assert BatchMean.example().variables() == (0,)


def test_the_mean_of_a_batch_carries_the_state_of_its_term() -> None:
    class Counting(ig.Term):
        def __init__(self) -> None:
            self.calls = torch.zeros(())

        def __call__(self, batch: ig.Batch) -> Tensor:
            self.calls = self.calls + batch.counts
            return batch.gradient().flatten(1).sum(1)

        def state(self) -> dict[str, Tensor]:
            return {"calls": self.calls}

        def load_state(self, state: Any) -> None:
            self.calls = state["calls"]

    criteria = [ig.InputGradientLoss(None, BatchMean(Counting())) for _ in range(2)]
    criteria[0](scalar().double(), zoo.features(3))
    criteria[1].load_state_dict(criteria[0].state_dict())
    assert criteria[1].terms[0].term.state() == {"calls": 1}


# path length


def one_latent() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 3, 3, padding=1))


def test_the_running_mean_goes_on_as_in_plain_torch() -> None:
    """Four steps of SGD, the mean carried by hand, on latents ``[N, D]``."""
    runs = []
    for library in (True, False):
        torch.manual_seed(3)
        model = one_latent().double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        criterion, a = ig.InputGradientLoss(None, generators.path_length()), 0.0
        for _ in range(4):
            w = torch.randn(5, 4, dtype=torch.float64)
            if library:
                loss = criterion(model, w)
            else:
                penalty, a = path_penalty(path_lengths(model, w), a)
                loss, a = 2 * penalty, a.detach()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        runs.append([loss.item(), float(criterion.terms[0].term.state()["mean"] if library else a), *(p.detach() for p in model.parameters())])
    for found, wanted in zip(*runs, strict=True):
        assert torch.allclose(torch.as_tensor(found), torch.as_tensor(wanted), rtol=1e-12)
    assert runs[0][1] > 0


def test_a_saved_criterion_goes_on_with_its_mean() -> None:
    model, w = one_latent().double(), torch.randn(5, 4, dtype=torch.float64)
    criterion, other = (ig.InputGradientLoss(None, generators.path_length()) for _ in range(2))
    for _ in range(3):
        criterion(model, w)
    file = io.BytesIO()
    torch.save(criterion.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    fresh = ig.InputGradientLoss(None, generators.path_length())
    values = []
    for one in (criterion, other, fresh):
        torch.manual_seed(9)
        values.append([one(model, w).item() for _ in range(2)])
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("way", ["no_grad", "inference_mode", "eval", "explain", "losses"])
def test_the_mean_goes_on_at_steps_of_training_only(way: str) -> None:
    model, w = one_latent().double(), torch.randn(5, 4, dtype=torch.float64)
    criterion = ig.InputGradientLoss(None, generators.path_length())
    criterion(model, w)
    before = criterion.terms[0].term.state()["mean"]
    assert before > 0
    if way == "eval":
        criterion.eval()(model, w)
    elif way == "explain":
        criterion.explain(model, w)
    elif way == "losses":
        criterion.losses(model, w)
    else:
        with getattr(torch, way)():
            criterion(model, w)
    assert (criterion.terms[0].term.state()["mean"] == before) == (way != "losses")


def test_two_criteria_of_one_recipe_have_means_of_their_own() -> None:
    first, second = PathLength(), PathLength()
    ig.InputGradientLoss(None, first)(one_latent(), torch.randn(3, 4))
    assert first.state()["mean"] > 0 == second.state()["mean"]
    assert repr(first) == "PathLength(beta=0.01, wrt=0)"


def test_a_batch_that_overflows_does_not_spoil_the_mean() -> None:
    model, w = one_latent(), torch.randn(3, 4)
    criterion = ig.InputGradientLoss(None, PathLength())
    criterion(model, w)
    with torch.no_grad():
        model[0].weight.fill_(float("inf"))
    criterion(model, w)
    assert criterion.terms[0].term.state()["mean"].isfinite()


def test_path_length_does_not_split_into_micro_batches() -> None:
    """The mean over the batch stands in the formula: two halves give another penalty."""
    model, w = one_latent().double(), torch.randn(6, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="statistic of the batch"):
        generators.path_length().scheduled(fraction=0.5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "randn_like", torch.ones_like)
        whole, *halves = (ig.InputGradientLoss(None, PathLength())(model, part).item() for part in (w, *w.split(3)))
    assert abs(sum(halves) / 2 - whole) > 1e-6 * whole


# bad input

REAL = torch.zeros(3, zoo.FEATURES, dtype=torch.float64)
BAD_CALLS: tuple[tuple[str, Any, Any, str], ...] = (
    ("no fakes", critics.wgan_gp(), None, "fake samples are expected as the target"),
    ("fakes in a dict", critics.r2(), {"fake": REAL}, 'fake="fake"'),
    ("fakes under another name", critics.r2(fake="fakes"), {"fake": REAL}, "is not a part of the target"),
    ("fewer fakes between", critics.wgan_gp(), REAL[:2], "must be a tensor of the inputs' shape"),
    ("fakes of another shape", critics.r2(), REAL[:, :2], "must be samples of the shape of"),
)


@pytest.mark.parametrize(("term", "target", "told"), [pytest.param(*case[1:], id=case[0]) for case in BAD_CALLS])
def test_fakes_that_are_not_there_are_told(term: Any, target: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ig.InputGradientLoss(None, term)(scalar().double(), REAL, target)


BAD_SETTINGS: tuple[tuple[Callable[[], Any], type[Exception], str], ...] = (
    (lambda: critics.dragan(size=-1), ValueError, "BatchNoise: size must be at least 0"),
    (lambda: critics.dragan(variance=-1), ValueError, "dragan: variance must be at least 0"),
    (lambda: critics.wgan_gp(center=-1), ValueError, "center must be a norm"),
    (lambda: critics.wgan_gp(fake=0.5), TypeError, "other must be a tensor, a name"),
    (lambda: critics.r2(fake=ig.Batch), TypeError, "other must be a tensor, a name"),
    (lambda: critics.lazy_r1(every=0), ValueError, "every of gradient_norm must be a whole number of steps"),
    (lambda: critics.r1("ten"), TypeError, "a weight is a number"),
    (lambda: generators.path_length(beta=0), ValueError, "beta must be above 0"),
    (lambda: generators.path_length(beta=1.5), ValueError, "beta must be above 0 and at most 1"),
    (lambda: BatchMean(2 * ig.GradientNorm()), TypeError, "a term without a weight"),
    (lambda: BatchMean(PathLength()), ValueError, "is a statistic of the batch already"),
    (lambda: PathLength().load_state({}), ValueError, "carries the running mean"),
    (lambda: critics.relativistic_pairing(torch.zeros(3, 1)), ValueError, "as many of either, got 3"),
)


@pytest.mark.parametrize(("make", "kind", "told"), BAD_SETTINGS)
def test_bad_settings_are_told(make: Callable[[], Any], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        make()


def test_what_is_no_generator_of_vectors_is_told() -> None:
    criterion = ig.InputGradientLoss(None, generators.path_length())
    with pytest.raises(ValueError, match=r"latents must be \[N, D\] or \[N, L, D\], got \[2, 1, 4, 4\]"):
        criterion(nn.Conv2d(1, 1, 3), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="the model must be a generator"):
        criterion(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), torch.zeros(2, 3))


def test_a_mean_of_what_is_no_number_a_sample_is_told() -> None:
    @ig.term
    def gradients(batch: ig.Batch) -> Tensor:
        return batch.gradient()

    with pytest.raises(ValueError, match=r"gradients must return one number per sample, \[N\]; got shape \[3, 5\]"):
        ig.InputGradientLoss(None, BatchMean(gradients))(scalar().double(), REAL)
