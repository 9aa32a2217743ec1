"""What a review by strangers found, kept found: each by its text, or against plain torch in float64."""

import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.memory import memory

pytestmark = pytest.mark.usefixtures("unverified")  # passes are counted


class Encoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enc, self.head = nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.enc(x))


def network() -> nn.Module:
    return Encoded().double()


def data(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, generator=generator, dtype=torch.float64), torch.randn(size, 2, generator=generator, dtype=torch.float64)


# places


@pytest.mark.parametrize("at", [ig.Interpolate(torch.zeros(6, 4), wrt="module:enc"), ig.Perturbed(ig.FGSM(0.5, of="output", wrt="module:enc"))])
def test_a_place_does_not_move_the_output_of_an_inner_module(at: ig.Place) -> None:
    x, y = data()
    with pytest.raises(ValueError, match=r"'module:enc' is not an input of the model, and a place moves inputs.*use Adversarial"):
        (nn.MSELoss() + ig.GradientNorm(wrt="module:enc", at=at))(network(), x, y)


def test_the_same_input_by_two_names_is_refused() -> None:
    x, y = data()
    with pytest.raises(ValueError, match=r"wrt=\(0, 'x'\) names 0 twice"):
        (nn.MSELoss() + ig.GradientNorm(wrt=(0, "x")))(network(), (x,), y)


@pytest.mark.parametrize("given", [lambda x: x, lambda x: (x,), lambda x: {"x": x}], ids=["tensor", "tuple", "dict"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_term_sees_the_inputs_in_the_form_that_they_were_given_in(given: Any, fraction: float) -> None:
    x, y = data()
    seen = []

    @ig.term
    def watch(batch: ig.Batch) -> Tensor:
        seen.extend([batch.inputs, batch.inputs_with({0: batch.variable() + 1})])
        return batch.gradient().square().sum(1)

    (nn.MSELoss() + watch.scheduled(fraction=fraction))(network(), given(x), y)
    assert [type(inputs) for inputs in seen] == [type(given(x))] * 2


def test_an_inner_module_by_its_second_name() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a

        def forward(self, x: Tensor) -> Tensor:
            return self.b(x).square()

    model, (x, _) = Shared().double(), data()
    found = ig.InputGradientLoss(None, ig.GradientNorm(wrt="module:b", power=2))(model, x)
    torch.testing.assert_close(found.detach(), (2 * model.a(x)).square().sum(1).mean().detach())


# shares of the batch


class Graph(nn.Module):
    """A matrix that all samples share comes first."""

    def forward(self, adj: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(x @ adj)


@pytest.mark.parametrize("target", [None, 0], ids=["no target", "target"])
def test_a_share_is_of_the_samples_and_not_of_what_comes_first(target: int | None) -> None:
    x, _ = data()
    adj, y = torch.randn(3, 3, dtype=torch.float64), None if target is None else torch.zeros(6, 3, dtype=torch.float64)
    seen = []

    @ig.term(wrt="x")
    def watch(batch: ig.Batch) -> Tensor:
        seen.append((batch.inputs["adj"].shape[0], batch.inputs["x"].shape[0]))
        return batch.gradient(wrt="x").square().sum(1)

    criterion = ig.InputGradientLoss("mse" if y is not None else None, watch.scheduled(fraction=0.5))
    if y is None:
        with pytest.raises(ValueError, match=r"how many samples there are: the inputs have the shapes \[\[3, 3\], \[6, 3\]\] and the target has no rows"):
            criterion(Graph(), {"adj": adj, "x": x})
    else:
        criterion(Graph(), {"adj": adj, "x": x}, y)
        assert seen == [(3, 3)]


def test_a_share_needs_a_target_of_the_inputs_rows() -> None:
    from inputgrad.variables import ModelInputs, sampled

    with pytest.raises(ValueError, match=r"shapes \[\[6, 3\]\] and the target \[\[5\]\]"):
        sampled(ModelInputs.of(torch.zeros(6, 3)), torch.zeros(5), 0.5)
    inputs, labels = sampled(ModelInputs.of(torch.zeros(6, 3)), {"class": torch.arange(6), "weight": 2.0}, 0.5)
    assert (inputs.args[0].shape[0], len(labels["class"]), labels["weight"]) == (3, 3, 2.0)
    assert isinstance(inputs.kwargs, Mapping)


# the arithmetic of terms

TERM, OTHER = ig.GradientNorm(), ig.GradientNorm(p=1)


def test_schedules_multiply_and_keep_what_is_not_given() -> None:
    twice = TERM.scheduled(every=4).scheduled(fraction=0.5).scheduled(every=2, fraction=0.5)
    assert (twice.every, twice.fraction) == (8, 0.25)
    parts = (TERM.scheduled(every=16) + OTHER).scheduled(fraction=0.5).weighted()
    assert [(part.every, part.fraction) for part in parts] == [(16, 0.5), (1, 0.5)]
    with pytest.raises(ValueError, match=r"fraction of gradient_norm must be .*at most 1; got 2"):
        TERM.scheduled(fraction=0.5).scheduled(fraction=2)


def gradient(criterion: nn.Module) -> Tensor:
    model, (x, y) = network(), data()
    criterion(model, x, y).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(
    "made",
    [
        lambda: nn.MSELoss() - -0.1 * TERM,
        lambda: 0.1 * TERM + nn.MSELoss(),
        lambda: nn.MSELoss() + (0.2 * TERM - 0.1 * TERM),
        lambda: (0.05 * TERM) + (nn.MSELoss() + 0.05 * TERM),
        lambda: (nn.MSELoss() + 0.2 * TERM) - 0.1 * TERM,
        lambda: nn.MSELoss() + torch.tensor(0.1, dtype=torch.float64) * TERM,
        lambda: nn.MSELoss() + TERM * torch.tensor([0.1], dtype=torch.float64),
        lambda: nn.MSELoss() + TERM / torch.tensor(10),
        lambda: nn.MSELoss() + (lambda step: 0.05) * (2 * TERM),
    ],
)
def test_sums_and_differences_of_terms_and_losses(made: Any) -> None:
    model, (x, y) = network(), data()
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf).sum(), leaf, create_graph=True)
    (nn.functional.mse_loss(model(x), y) + 0.1 * g.norm(dim=1).mean()).backward()
    torch.testing.assert_close(gradient(made()), torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))


def test_numbers_of_numpy_are_weights() -> None:
    numpy = pytest.importorskip("numpy")
    for number in (numpy.float32(0.5), numpy.float64(0.5), numpy.int64(2)):
        for weighted in (number * TERM, TERM * number):
            assert type(weighted.weight) in (float, numpy.float64)
            assert weighted.weight == number
    assert (TERM / numpy.float32(2)).weight == 0.5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: torch.tensor(0.1, requires_grad=True) * TERM, r"this tensor requires grad: .*criterion\.losses"),
        (lambda: torch.ones(3) * TERM, r"a weight is one number, got a tensor of shape \[3\]"),
        (lambda: TERM - nn.MSELoss(), r"a base loss cannot be taken from a term"),
        (lambda: 0.1 * ig.GradientNorm, r"GradientNorm is a class: pass an instance, such as 0\.1 \* GradientNorm\(\)"),
        (lambda: nn.MSELoss() + ig.GradientNorm, r"GradientNorm is a class: pass an instance"),
        (lambda: ig.InputGradientLoss("mse", [ig.GradientNorm]), r"GradientNorm is a class: pass an instance"),
        (lambda: ig.InputGradientLoss("mse", ig.GradientNorm), r"GradientNorm is a class: pass an instance"),
        (lambda: ig.InputGradientLoss(nn.MSELoss, TERM), r"base is the class MSELoss: pass an instance: MSELoss\(\)"),
        (lambda: nn.MSELoss + TERM, r"pass an instance: MSELoss\(\)"),
        (lambda: TERM + nn.MSELoss, r"pass an instance: MSELoss\(\)"),
    ],
)
def test_what_is_no_summand_is_one_clear_error(make: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make()


@ig.term
def steep(batch: ig.Batch) -> Tensor:
    return batch.gradient().square().sum(1)


def ramp(step: int) -> float:
    return 0.1 * step


@pytest.mark.parametrize("through", [lambda criterion: pickle.loads(pickle.dumps(criterion)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_criterion_with_the_users_own_term_and_weight_is_copied(through: Any) -> None:
    criterion = nn.MSELoss() + 0.3 * steep + 2 * (ramp * TERM)
    criterion.step_number = 5
    assert torch.equal(gradient(through(criterion)), gradient(criterion))


def test_a_term_of_a_local_function_is_copied_and_says_why_it_is_not_pickled() -> None:
    criterion = nn.MSELoss() + ig.term(lambda batch: batch.gradient().square().sum(1))
    assert torch.equal(gradient(copy.deepcopy(criterion)), gradient(criterion))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(criterion)


# heads, perturbations, keys


class Unhashable(ig.heads.Head):
    __hash__ = None  # as @dataclass without frozen=True makes it

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return output[:, 0]


def criterion(term: Any, base: Any = "mse") -> Any:
    return lambda: ig.InputGradientLoss(base, term)(network(), *data())


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (criterion(ig.GradientNorm(of=Unhashable())), TypeError, r"of is an object of Unhashable.*@dataclass\(frozen=True\)"),
        (lambda: ig.Adversarial(0.1), TypeError, r"Adversarial takes a perturbation object, as in Adversarial\(FGSM\(0\.1\)\).*got 0\.1"),
        (lambda: ig.Adversarial(ig.FGSM), TypeError, r"takes a perturbation object.*got <class"),
        (lambda: ig.Perturbed(0.1), TypeError, r"Perturbed\(FGSM\(0\.1\)\)"),
        (criterion(ig.Adversarial(lambda batch: 3)), TypeError, r"must return the perturbed input, a tensor; got int"),
        (lambda: ig.DirectionMatch(torch.ones(3), wrt=(0, 1)), TypeError, r"DirectionMatch: wrt names one input.*got \(0, 1\)"),
    ],
)
def test_the_reviews_bad_settings(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


def test_ignored_labels_have_no_output() -> None:
    x, _ = data()
    labels = torch.tensor([0, 1, -100, 1, 0, 2])
    with pytest.raises(ValueError, match=r'of="label" has no output for the labels \[-100, 2\] outside 0\.\.1.*mask them'):
        ig.InputGradientLoss(None, ig.GradientNorm(of="label"))(network(), x, labels)

    def masked(output: Tensor, target: Tensor) -> Tensor:
        return output.gather(1, target.clamp(min=0, max=1)[:, None]).squeeze(1) * (target >= 0)

    assert ig.InputGradientLoss(None, ig.GradientNorm(of=masked))(network(), x, labels).isfinite()


def test_a_callable_is_a_perturbation_of_the_first_input() -> None:
    model, (x, y) = network(), data()
    shift = torch.ones(3, dtype=torch.float64)
    found = ig.InputGradientLoss("mse", ig.Adversarial(lambda batch: batch.variable() + shift)).evaluate(model, x, y).parts["adversarial"]
    torch.testing.assert_close(found, nn.functional.mse_loss(model(x + shift), y).detach())
    place = ig.Perturbed(lambda batch: batch.variable() + shift)
    moved = ig.InputGradientLoss(None, ig.GradientNorm(at=place))(model, x)
    torch.testing.assert_close(moved.detach(), ig.InputGradientLoss(None, ig.GradientNorm())(model, x + shift).detach())


def test_a_direction_for_a_tuple_of_one_key() -> None:
    direction = torch.ones(3, dtype=torch.float64)
    one, several = (gradient(nn.MSELoss() + ig.DirectionMatch(direction, wrt=wrt)) for wrt in (0, (0,)))
    assert torch.equal(one, several)


def one_of_them(output: Tensor, target: Any, *, k: int) -> Tensor:
    return output[:, k]


def closing_over(k: int) -> Any:
    return lambda output, target: output[:, k]


def test_heads_made_anew_at_each_step_have_one_identity() -> None:
    """So that the proof of an engine is made once, and keeps none of their tensors."""
    network_of_heads, other = nn.Linear(2, 2), nn.Linear(2, 2)

    def head(module: nn.Module) -> ig.heads.Head:
        weight = torch.ones(2)
        return ig.heads.CallableHead(lambda output, target: module(output) @ weight)

    assert head(network_of_heads).identity() == head(network_of_heads).identity() != head(other).identity()
    assert ig.heads.CallableHead(lambda output, target: output[:, 0]).identity() != ig.heads.CallableHead(lambda output, target: output[:, 1]).identity()
    by_closure = [ig.heads.CallableHead(closing_over(k)).identity() for k in (0, 1, 0)]
    by_default = [ig.heads.CallableHead(lambda output, target, k=k: output[:, k]).identity() for k in (0, 1, 0)]
    by_partial = [ig.heads.CallableHead(partial(one_of_them, k=k)).identity() for k in (0, 1, 0)]
    for first, second, again in (by_closure, by_default, by_partial):
        assert first == again != second
    made = [ig.heads.FixedProjection(torch.randn(6, 2, 2)) for _ in range(2)]
    assert made[0].identity() == made[1].identity()
    kept = made[0].identity()
    alive = weakref.ref(made[0].directions)
    del made
    gc.collect()
    assert kept
    assert alive() is None


def test_a_lambda_in_a_term_is_proven_once() -> None:
    term = ig.term(lambda batch: batch.gradient(of=lambda output, target: output[:, 0]).square().sum(1))
    model, (x, y) = network(), data()
    loss = ig.InputGradientLoss("mse", term, engine="double_backward")
    loss(model, x, y).backward()
    before = len(memory(model).checked)
    for _ in range(3):
        loss(model, x, y).backward()
    assert len(memory(model).checked) == before


# terms that lost the graph


def lost(batch: ig.Batch) -> Tensor:
    return batch.gradient().detach().square().sum(1)


def through_numpy(batch: ig.Batch) -> Tensor:
    return torch.tensor(batch.gradient().detach().tolist()).square().sum(1)


@pytest.mark.parametrize("function", [lost, through_numpy])
def test_a_term_that_lost_the_graph_is_told_once(function: Any) -> None:
    model, (x, y) = network(), data()
    loss = nn.MSELoss() + TERM + ig.term(function)
    with pytest.warns(UserWarning, match=rf"the term {function.__name__} asked for the input gradient and returned a constant.*\.detach\(\)") as told:
        loss(model, x, y)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(model, x, y)


def test_constants_that_are_meant_are_not_told() -> None:
    model, (x, y) = network(), data()
    quiet = [
        ig.Adversarial(ig.FGSM(0.1)),
        ig.term(lambda batch: batch.gradient(constant=True).square().sum(1)),
        ig.term(lambda batch: torch.ones(batch.size)),
        ig.term(lambda batch: batch.output.sum(1)),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ig.InputGradientLoss("mse", [TERM, *quiet])(model, x, y)
        with torch.no_grad():
            ig.InputGradientLoss("mse", ig.term(lost))(model, x, y)
