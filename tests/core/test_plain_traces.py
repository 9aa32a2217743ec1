"""What passes of a model change at a later step only, or where it was not looked for: every step is what the way in full makes of it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.textbook import Gradients, distance

X = torch.rand(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 4
OTHER = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
pytestmark = pytest.mark.filterwarnings("ignore:module .* couples the samples")


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double()
        self.norm = nn.BatchNorm1d(3).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Normed(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class Tasks(Body):
    def __init__(self) -> None:
        super().__init__()
        self.norms, self.task = nn.ModuleDict({name: nn.BatchNorm1d(3).double() for name in "ab"}), "a"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norms[self.task](x))


class Initialised(Body):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("is_ready", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.is_ready:
            self.count += 1
        self.is_ready += 1
        return super().forward(x) * (1 + self.count)


class Averages(Body):
    """A mean that is renewed at every fourth pass."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        if self.passes % 4 == 0:
            self.mean.lerp_(x.detach().mean(0), 0.5)
        return super().forward(x - self.mean)


class Hidden(Body):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", None)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x if self.hidden is None else x + self.hidden)
        self.hidden = x.detach().mean(0)
        return out


class Momentum(Body):
    """A frozen teacher that follows, by ``.data``, which no counter of writes sees."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.layers).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for own, learnt in zip(self.teacher.parameters(), self.layers.parameters(), strict=True):
            own.data = own.data * 0.9 + learnt.data * 0.1 + 0.01
        out: Tensor = super().forward(x) + self.teacher(x)
        return out


class Counts(Body):
    passes, on = 0, False

    def forward(self, x: Tensor) -> Tensor:
        if self.on:
            self.passes = self.passes + 1
        return super().forward(x) * (1 + self.passes)


class DrawsFarAway(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x) if x.max() > 1.2 else x)


class Large(Body):
    """A large buffer that is written on from the third step on."""

    on = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(5000, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if self.on:
            self.table += 1
        return super().forward(x) * (1 + self.table[0])


def registered(model: Any, step: int) -> None:
    if step == 2:
        model.layers.register_buffer("late", torch.zeros(()))
        model.layers.register_forward_pre_hook(lambda module, args: (args[0] * (1 + module.late.add_(1)),))


def untracked(model: Any, step: int) -> None:
    model.norm.track_running_stats = step >= 2


def still(model: Any, step: int) -> None:
    model.norm.momentum = 0.1 if step >= 2 else 0.0


def another_task(model: Any, step: int) -> None:
    model.task = "ab"[step >= 2]


def reset(model: Any, step: int) -> None:
    model.hidden = None


def begins(model: Any, step: int) -> None:
    model.on = step >= 3


def nothing(model: Any, step: int) -> None:
    pass


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, int], None]]] = {
    "normalisations of tasks": (Tasks, another_task),
    "statistics that are tracked later": (Normed, untracked),
    "a momentum that was 0": (Normed, still),
    "initialised by data": (Initialised, nothing),
    "an average at some passes": (Averages, nothing),
    "a buffer registered later": (Body, registered),
    "a hidden state that is reset": (Hidden, reset),
    "a momentum teacher": (Momentum, nothing),
    "a count that begins later": (Counts, begins),
    "draws at far inputs": (DrawsFarAway, nothing),
    "a large buffer": (Large, begins),
}


def gradients(model: nn.Module, loss: Tensor) -> Gradients:
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


def state(model: nn.Module) -> dict[str, Any]:
    return {**dict(model.named_buffers()), **{name: parameter.detach() for name, parameter in model.named_parameters()}, "passes": getattr(model, "passes", 0)}


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_what_the_way_in_full_makes_of_it(case: str) -> None:
    make, change = CASES[case]
    model, criterion = make(), ig.InputGradientLoss("cross_entropy", ig.Adversarial(ig.FGSM(0.3)), verify=False)
    for step in range(6):
        change(model, step)
        other = copy.deepcopy(model)
        torch.manual_seed(step)
        wanted = gradients(other, ig.InputGradientLoss("cross_entropy", ig.Adversarial(ig.FGSM(0.3)), verify=False)(other, X, Y)), torch.rand(())
        torch.manual_seed(step)
        found = gradients(model, criterion(model, X, Y)), torch.rand(())
        if case == "a large buffer" and step == 3:  # it is seen, and not undone: one pass more has written on it, once
            model.table.copy_(other.table)
            continue
        assert distance(found[0], wanted[0]) < 1e-10, step
        assert torch.equal(found[1], wanted[1]), step
        torch.testing.assert_close(state(model), state(other), rtol=1e-12, atol=1e-14)


def test_what_is_known_of_a_model_is_not_of_one_with_other_names() -> None:
    model = Body()
    model.heads = nn.ModuleDict({"a": nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4)).double()})
    model.forward = lambda x: next(reversed(model.heads.values()))(x)
    for _ in range(2):
        criterion = ig.InputGradientLoss("cross_entropy", ig.Adversarial(ig.FGSM(0.1)), verify=False)
        for _ in range(3):
            criterion(model, X, Y).backward()
        model.heads["b"] = model.heads.pop("a") if "a" in model.heads else model.heads["b"]


class Writes(Body):
    def forward(self, x: Tensor) -> Tensor:
        x.data.clamp_(0.2, 0.8)
        return super().forward(x)


def test_the_samples_of_a_place_are_left_as_they_are() -> None:
    samples = OTHER.clone()
    criterion = ig.InputGradientLoss("cross_entropy", ig.terms.Consistency(ig.Noise(0.1), at=ig.Given(samples)), verify=False)
    for _ in range(3):
        criterion(Writes(), X, Y)
    model = Writes()
    for _ in range(3):
        criterion(model, X, Y)
    assert torch.equal(samples, OTHER)


class Elsewhere(ig.terms.Term):
    def __call__(self, batch: ig.Batch) -> Tensor:
        return batch.at(ig.Given(OTHER)).gradient().square().sum(1)


class Further(ig.terms.Term):
    def __call__(self, batch: ig.Batch) -> Tensor:
        return batch.output_with({0: batch.variable() + 0.1}).square().sum(1)


class Sets(ig.terms.Term):
    """Sets something on the model between two passes, which the later pass does not see."""

    def __call__(self, batch: ig.Batch) -> Tensor:
        clean = batch.output
        batch.model.scale = 2.0  # type: ignore[assignment]  # a plain attribute
        there = batch.output_with({0: batch.variable() + 0.1})
        batch.model.scale = 1.0  # type: ignore[assignment]  # likewise
        return (there - clean).square().sum(1)


class Scaled(Body):
    scale: float

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class Catches(ig.terms.Term):
    """Goes on with something else where a pass raises; it asks for one from the third step on."""

    calls = 0

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        out = batch.output
        if self.calls > 2:
            try:
                out = batch.output_with({0: batch.variable() + 0.1})
            except Exception:
                out = 0 * out
        return out.square().sum(1)


class Constant(ig.terms.Term):
    def __call__(self, batch: ig.Batch) -> Tensor:
        return batch.gradient(constant=True).square().sum(1)


TERMS: dict[str, tuple[type[ig.terms.Term], Any]] = {
    "a gradient elsewhere": (Elsewhere, "cross_entropy"),
    "one further pass alone": (Further, None),
    "something set between passes": (Sets, None),
    "exceptions caught": (Catches, "cross_entropy"),
    "a constant": (Constant, None),
}


@pytest.mark.filterwarnings("ignore:the term")
@pytest.mark.parametrize("name", TERMS)
def test_terms_of_ones_own(name: str) -> None:
    kind, base = TERMS[name]
    model, term = Scaled(), kind()
    criterion = ig.InputGradientLoss(base, term, verify=False)
    for step in range(4):
        fresh = kind()
        vars(fresh).update(vars(term))
        wanted = gradients(model, ig.InputGradientLoss(base, fresh, verify=False)(model, X, Y))
        assert distance(gradients(model, criterion(model, X, Y)), wanted) < 1e-12, step


@pytest.mark.parametrize("kind", [Elsewhere, Further])
def test_a_term_is_asked_once_a_step(kind: type[ig.terms.Term], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda term, batch: calls.append(1) or real(term, batch))
    model, criterion = Scaled(), ig.InputGradientLoss(None, kind(), verify=False)
    for _ in range(4):
        criterion(model, X, Y)
    assert len(calls) == 4


def test_what_cannot_be_made_plainly_is_tried_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Turns(ig.terms.Term):
        """Asks for a gradient of an inner module after its first call with a criterion's form."""

        calls = 0

        def __call__(self, batch: ig.Batch) -> Tensor:
            self.calls += 1
            more = type(batch.source).__name__ == "PlainSource"
            return batch.output.square().sum(1) + (batch.gradient(of=ig.heads.Inner("layers")).flatten(1).sum(1) if more else 0)

    term = Turns()
    criterion = ig.InputGradientLoss(None, term, verify=False)
    model = Scaled()
    for _ in range(10):
        criterion(model, X, Y)
    assert term.calls == 10 + 3


def test_a_perturbation_that_is_carried_moves_once_where_a_step_is_made_again() -> None:
    model, perturbation = Body(), ig.PersistentPerturbation(0.5, step_size=0.1)
    criterion, runs = ig.InputGradientLoss("cross_entropy", ig.Adversarial(perturbation), verify=False), []

    def fails_once(_module: nn.Module, _args: Any) -> None:
        runs.append(1)
        if len(runs) == 9:  # the last pass of the third step
            raise RuntimeError("once")

    model.register_forward_pre_hook(fails_once)
    for _ in range(3):
        criterion(model, X, Y)
    assert len(runs) == 12
    assert perturbation.state()["delta"].abs().max().item() <= 0.3 + 1e-12
