"""Plain steps of terms that move their inputs: attacks, consistency, differences. Judged by plain torch in float64, and by the way in full."""

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from tests.core.ordinary import ordinary
from tests.textbook import Gradients, distance

X = torch.rand(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 4
OTHER = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double()


class Net(nn.Module):
    """A network of one's own, which works in place on what it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x.mul_(1.5))
        return out


def slope(model: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    z = x.clone().requires_grad_()
    return torch.autograd.grad(score(model(z.clone())), z)[0]


def cross_entropy(output: Tensor) -> Tensor:
    return F.cross_entropy(output, Y)


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    return F.kl_div(other.log_softmax(1), clean.log_softmax(1), reduction="batchmean", log_target=True)


def fgsm(model: nn.Module) -> Tensor:
    return cross_entropy(model(X.clone())) + cross_entropy(model(X + 0.1 * slope(model, X, cross_entropy).sign()))


def attacked(model: nn.Module, start: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    point = start
    for _ in range(3):
        point = torch.minimum(torch.maximum(point + 0.04 * slope(model, point, score).sign(), X - 0.1), X + 0.1)
    return point


def pgd(model: nn.Module) -> Tensor:
    return 0.5 * cross_entropy(model(X.clone())) + 0.5 * cross_entropy(model(attacked(model, X, cross_entropy)))


def trades(model: nn.Module) -> Tensor:
    clean = model(X.clone())
    held = clean.detach()
    start = X + 0.001 * torch.ones_like(X)
    return cross_entropy(clean) + 6 * divergence(clean, model(attacked(model, start, lambda output: divergence(held, output))))


def consistency_elsewhere(model: nn.Module) -> Tensor:
    held = model(OTHER.clone()).detach()
    start = OTHER + 0.01
    return cross_entropy(model(X.clone())) + divergence(held, model(start + 0.3 * slope(model, start, lambda output: divergence(held, output)).sign()))


def squared_change(model: nn.Module) -> Tensor:
    g = torch.autograd.grad(cross_entropy(model((z := X.clone().requires_grad_()).clone())), z, create_graph=True)[0]
    return cross_entropy(model(X.clone())) + (12 * g).square().sum(1).mean() + (model(X + 0.5) - model(X.clone())).square().mean()


class Moved(ig.terms.Term):
    """The mean squared change of the output where each input is moved by ½."""

    def __call__(self, batch: ig.Batch) -> Tensor:
        clean = batch.output
        return (batch.output_with({0: batch.variable() + 0.5}) - clean).square().mean(1)


PGD = {"epsilon": 0.1, "steps": 3, "step_size": 0.04}
LOSSES: dict[str, tuple[Callable[[], Any], Callable[[nn.Module], Tensor]]] = {
    "fgsm": (lambda: nn.CrossEntropyLoss() + ig.terms.Adversarial(ig.FGSM(0.1)), fgsm),
    "pgd": (lambda: nn.CrossEntropyLoss() + 0.5 * ig.terms.Adversarial(ig.PGD(**PGD, start="none"), instead=True), pgd),
    "trades": (lambda: nn.CrossEntropyLoss() + 6.0 * ig.terms.Consistency(ig.PGD(**PGD, start=lambda batch: batch.variable() + 0.001, of="kl")), trades),
    "consistency elsewhere": (
        lambda: (
            nn.CrossEntropyLoss()
            + ig.terms.Consistency(
                ig.PGD(1.0, steps=1, step_size=0.3, start=lambda batch: batch.variable() + 0.01, of="kl"), hold_clean=True, at=ig.Given(OTHER)
            )
        ),
        consistency_elsewhere,
    ),
    "beside a gradient": (lambda: nn.CrossEntropyLoss() + ig.GradientNorm(of="loss", power=2) + Moved(), squared_change),
}


def gradients(model: nn.Module, loss: Tensor) -> Gradients:
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize("make", [layers, Net])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_further_passes_is_the_textbooks(loss: str, make: Callable[[], nn.Module], plain: list[str]) -> None:
    criterion, model, before = LOSSES[loss][0](), make(), X.clone()
    wanted = gradients(model, LOSSES[loss][1](model))
    for _ in range(3):
        assert distance(gradients(model, criterion(model, X, Y)), wanted) < 1e-12
    criterion.backward(model, X, Y)
    assert distance({name: parameter.grad for name, parameter in model.named_parameters()}, wanted) < 1e-12
    assert plain == ([] if make is Net else ["made"] * 3)  # what a model writes on its inputs is looked after in the way in full
    assert torch.equal(X, before)


PUBLIC = [getattr(ig.terms, name) for name in ig.terms.__all__]
FURTHER = [kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, ig.terms.Term) and kind is not ig.terms.Term and kind.further_passes]


@pytest.mark.parametrize("kind", FURTHER, ids=lambda kind: kind.__name__)
def test_every_term_of_further_passes_gives_the_same_in_a_plain_step_as_in_full(kind: type[ig.terms.Term]) -> None:
    torch.manual_seed(0)
    model, inputs, target, base = ordinary(kind)
    criterion = ig.InputGradientLoss(base, kind.example(), engine="double_backward", verify=False)
    for step in range(3):
        fresh = ig.InputGradientLoss(base, copy.deepcopy(criterion.terms), engine="double_backward", verify=False)
        fresh.load_state_dict(criterion.state_dict())
        torch.manual_seed(step)
        wanted = gradients(model, fresh(model, inputs, target)), torch.rand(())
        torch.manual_seed(step)
        found = gradients(model, criterion(model, inputs, target)), torch.rand(())
        assert distance(found[0], wanted[0]) < 1e-6
        assert torch.equal(found[1], wanted[1])


def test_a_carried_perturbation_moves_once_a_step(plain: list[str]) -> None:
    model, perturbation = layers(), ig.PersistentPerturbation(0.5, step_size=0.1)
    criterion = nn.CrossEntropyLoss() + ig.terms.Adversarial(perturbation)
    delta = torch.zeros_like(X)
    for _ in range(4):
        criterion.backward(model, X, Y)
        delta = delta + 0.1 * slope(model, X + delta, cross_entropy).sign()
        torch.testing.assert_close(perturbation.state()["delta"], delta)
    assert plain == ["made"] * 3


def test_what_computes_the_inputs_learns_at_the_moved_ones_too(plain: list[str]) -> None:
    model, encoder = layers(), nn.Linear(3, 3).double()
    criterion = nn.CrossEntropyLoss() + ig.terms.Adversarial(ig.FGSM(0.1))
    weight = encoder.weight
    for _ in range(3):
        (found,) = torch.autograd.grad(criterion(model, encoder(X), Y), weight)
        x = encoder(X)
        shift = 0.1 * slope(model, x.detach(), cross_entropy).sign()
        torch.testing.assert_close(found, torch.autograd.grad(cross_entropy(model(x)) + cross_entropy(model(x + shift)), weight)[0])
    assert plain == ["made"] * 2


@pytest.mark.filterwarnings("ignore:module '1' .BatchNorm1d. couples")
@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(8)], ids=lambda layer: type(layer).__name__)
def test_passes_of_models_that_leave_a_trace_are_replayed_at_each_step(layer: nn.Module, plain: list[str]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), layer, nn.Tanh(), nn.Linear(8, 4)).double()
    criterion = ig.InputGradientLoss(None, Moved(), verify=False)
    for step in range(3):
        before = copy.deepcopy(model)
        torch.manual_seed(step)
        found = criterion(model, X, Y).detach()
        torch.manual_seed(step)
        clean = before(X)
        torch.manual_seed(step)  # the same mask
        torch.testing.assert_close(found, (copy.deepcopy(before)(X + 0.5) - clean).square().mean().detach())
        for name, buffer in before.named_buffers():
            torch.testing.assert_close(dict(model.named_buffers())[name], buffer, msg="running statistics move once a step")
    assert plain == ["made"] * 2


class Begins(ig.terms.Term):
    """Runs the model once, and from the third call on once more."""

    calls = 0

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        again = batch.output_with({0: batch.variable()}) if self.calls > 2 else 0
        return (batch.output - again).square().mean(1)


class Noisy(nn.Module):
    noise = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out + self.noise * torch.randn_like(out) if self.noise else out


def test_a_term_that_begins_to_ask_when_the_model_begins_to_draw_sees_the_same_numbers() -> None:
    model, criterion = Noisy(), ig.InputGradientLoss(None, Begins(), verify=False)
    for step in range(5):
        model.noise = 1.0 if step >= 2 else 0.0
        loss = criterion(model, X, Y)
        assert loss.item() == 0 if step >= 2 else loss.item() > 0


def test_an_error_of_a_further_pass_is_the_one_of_the_first_step(plain: list[str]) -> None:
    class Wrong(ig.terms.Term):
        rows = 12

        def __call__(self, batch: ig.Batch) -> Tensor:
            return batch.output_with({0: batch.variable()[: self.rows]}).square().mean(1)

    model, term = layers(), Wrong()
    criterion = ig.InputGradientLoss("cross_entropy", term, verify=False)
    for _ in range(2):
        criterion(model, X, Y)
    term.rows = 5
    with pytest.raises(ValueError, match=r"the new value of variable 0 has shape \[5, 3\], expected \[12, 3\]"):
        criterion(model, X, Y)
    assert plain == ["made", "ValueError"]


def test_an_attack_on_a_head_of_several_rows_is_told_at_each_step(plain: list[str]) -> None:
    term = ig.terms.Adversarial(ig.PGD(0.1, steps=2))
    model, criterion = layers(), nn.CrossEntropyLoss() + term
    for _ in range(2):
        criterion(model, X, Y)
    object.__setattr__(term.perturbation, "of", ig.heads.EachOutput())
    with pytest.raises(ValueError, match="PGD needs a head of one score per sample"):
        criterion(model, X, Y)
    assert plain == ["made", "UnforeseenError"]


@pytest.mark.parametrize("way", ["call", "backward"])
@pytest.mark.parametrize("loss", LOSSES)
def test_no_graph_waits_for_the_garbage_collector(loss: str, way: str, plain: list[str]) -> None:
    model, criterion = layers(), LOSSES[loss][0]()
    criterion(model, X, Y).backward()
    outputs: list[Any] = []
    model.register_forward_hook(lambda _module, _args, output: outputs.append(weakref.ref(output)))
    for _ in range(2):  # hooks were added
        criterion(model, X, Y).backward()
    gc.collect()
    gc.disable()
    try:
        outputs.clear()
        criterion(model, X, Y).backward() if way == "call" else criterion.backward(model, X, Y)
        assert outputs
        assert all(output() is None for output in outputs)
    finally:
        gc.enable()
    assert plain.count("made") == len(plain) >= 2
