"""Compiled steps after the first run their program and nothing else, until something has changed that the trace took in. Judged by plain torch in float64."""

import copy
import sys
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from inputgrad.passes.structure import ModelStructure
from inputgrad.step.known_programs import ProgramStep
from tests.textbook import Gradients, distance


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.drop, self.scale, self.loose = nn.Dropout(0.5).eval(), 1.0, torch.ones((), dtype=torch.float64)
        self.register_buffer("shift", torch.zeros(8))
        self.factor: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.factor is None else self.factor * x
        return self.loose * self.last(torch.tanh(self.scale * self.second(self.drop(torch.tanh(self.first(x))) + self.shift)))


X, Y = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.zeros(6, 1, dtype=torch.float64)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[ProgramStep]:
    made: list[ProgramStep] = []
    run = ProgramStep.run

    def counted(step: ProgramStep, *args: Any, **kwargs: Any) -> None:
        made.append(step)
        run(step, *args, **kwargs)

    monkeypatch.setattr(ProgramStep, "run", counted)
    return made


def made(terms: Any = None, steps: int = 2, base: Any = "mse") -> tuple[ig.InputGradientLoss, Any]:
    model = Net().double()
    criterion = ig.InputGradientLoss(base, 0.5 * ig.GradientNorm(power=2) if terms is None else terms, engine=Compiled(backend="eager"))
    for _ in range(steps):
        criterion.backward(model, X, Y)
    model.zero_grad()
    return criterion, model


def gradients(model: nn.Module, loss: Tensor) -> Gradients:
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


def by_hand(model: nn.Module, weight: float = 0.5, base: float = 1.0) -> Gradients:
    x = X.clone().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return gradients(model, base * nn.functional.mse_loss(output, Y) + weight * g.square().sum(1).mean())


@pytest.mark.parametrize("way", ["call", "backward"])
def test_each_later_step_is_one_run_of_the_program(way: str, at_once: list[ProgramStep]) -> None:
    criterion, model = made()
    for step in range(3):
        model.zero_grad()
        expected = by_hand(model)
        if way == "call":
            found = gradients(model, criterion(model, X, Y))
        else:
            criterion.backward(model, X, Y)
            found = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert distance(found, expected) < 1e-12
        assert len(at_once) == 2 + step
    assert criterion.step_number == 5


PARTS: dict[str, tuple[Any, Any, Any]] = {
    "a tuple": ((Y, X.sin()), 0, 1),
    "a dict": ({"value": Y, "slope": X.sin()}, "value", "slope"),
}


@pytest.mark.parametrize("parts", PARTS)
def test_a_target_of_several_parts_runs_the_program(parts: str, at_once: list[ProgramStep]) -> None:
    target, value, slope = PARTS[parts]
    model = Net().double()
    criterion = ig.InputGradientLoss(ig.OnTarget(value), 0.5 * ig.GradientMatch(slope), engine=Compiled(backend="eager"))
    later = {key: 2 * part for key, part in target.items()} if isinstance(target, dict) else tuple(2 * part for part in target)
    for step, given in enumerate((target, target, later, target)):
        x = X.clone().requires_grad_()
        output = model(x)
        (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        wanted = nn.functional.mse_loss(output, given[value]) + 0.5 * (g - given[slope]).square().sum(1).mean()
        assert distance(gradients(model, criterion(model, X, given)), gradients(model, wanted)) < 1e-12
        assert len(at_once) == step
    missing = X.sin().clone()
    missing[2, 1] = float("nan")
    given = {value: Y, slope: missing} if isinstance(target, dict) else (Y, missing)
    exact = ig.InputGradientLoss(criterion.base, criterion.terms, engine="double_backward")
    assert distance(gradients(model, criterion(model, X, given)), gradients(model, exact(model, X, given))) < 1e-12


SHARE = {"of the loss": 1.0}


def test_a_base_loss_of_the_users_own_runs_the_program_until_it_holds_something_else(at_once: list[ProgramStep]) -> None:
    held = torch.ones((), dtype=torch.float64)
    model = Net().double()

    def scaled(output: Tensor, target: Tensor) -> Tensor:
        return SHARE["of the loss"] * held * nn.functional.mse_loss(output, target)

    criterion = ig.InputGradientLoss(scaled, 0.5 * ig.GradientNorm(power=2), engine=Compiled(backend="eager"))

    for step in range(3):
        assert distance(gradients(model, criterion(model, X, Y)), by_hand(model)) < 1e-12
        assert len(at_once) == step
    try:
        SHARE["of the loss"] = 3.0
        for _ in range(2):
            assert distance(gradients(model, criterion(model, X, Y)), by_hand(model, base=3)) < 1e-12
    finally:
        SHARE["of the loss"] = 1.0


class Holding(nn.Module):
    """What a module of the user's own may hold besides numbers: containers, objects, functions, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.named, self.pair = [1.0], {"scale": {"of": 1.0}}, (1.0, 2.0)
        self.settings = SimpleNamespace(scale=1.0, more=[1.0])
        self.function, self.part, self.several, self.kind = torch.tanh, partial(torch.mul, other=1.0), [torch.sin], nn.Tanh
        self.dtype, self.mode = torch.float64, Mode.ONE

    def scaled(self, z: Tensor) -> Tensor:
        scale = self.numbers[0] * self.named["scale"]["of"] * self.pair[0] * self.settings.scale * self.settings.more[0] * self.mode.value
        z = self.several[0](self.part(self.function(scale * z)))
        return (z if self.kind is nn.Tanh else 2 * z).to(self.dtype)


class Mode(Enum):
    ONE, TWO = 1.0, 2.0


class HoldingNet(Holding):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(self.layer(x))


class HoldingLoss(Holding):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.scaled((output - target).abs().mean())


HELD: dict[str, Callable[[Any], object]] = {
    "a list": lambda own: own.numbers.__setitem__(0, 3.0),
    "a dict in a dict": lambda own: own.named["scale"].__setitem__("of", 3.0),
    "a tuple": lambda own: setattr(own, "pair", (3.0, 2.0)),
    "an object": lambda own: setattr(own.settings, "scale", 3.0),
    "a list in an object": lambda own: own.settings.more.__setitem__(0, 3.0),
    "a function of torch": lambda own: setattr(own, "function", torch.sin),
    "a part of a function": lambda own: setattr(own, "part", partial(torch.mul, other=3.0)),
    "a function in a list": lambda own: own.several.__setitem__(0, torch.cos),
    "a class": lambda own: setattr(own, "kind", nn.ReLU),
    "a mode": lambda own: setattr(own, "mode", Mode.TWO),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("change", HELD)
@pytest.mark.parametrize("where", ["model", "base loss"])
def test_what_has_changed_in_what_a_module_holds_is_seen(where: str, change: str, at_once: list[ProgramStep]) -> None:
    own: Any = HoldingNet().double() if where == "model" else HoldingLoss()
    model: nn.Module = own if where == "model" else nn.Linear(3, 1).double()
    base = "mse" if where == "model" else own
    compiled, exact = (ig.InputGradientLoss(base, 0.5 * ig.GradientNorm(power=2), engine=engine) for engine in (Compiled(backend="eager"), "double_backward"))
    for step in range(5):
        if step == 3:
            assert len(at_once) == 2
            HELD[change](own)
        assert distance(gradients(model, compiled(model, X, Y)), gradients(model, exact(model, X, Y))) < 1e-12


class Two(Net):
    def forward(self, x: Tensor) -> Any:
        return {"other": x, "value": super().forward(x)}


def test_one_of_several_outputs_runs_the_program(at_once: list[ProgramStep]) -> None:
    model = Two().double()
    criterion = ig.InputGradientLoss("mse", 0.5 * ig.GradientNorm(power=2), engine=Compiled(backend="eager"), output="value")
    same = Net().double()
    for step in range(3):
        assert distance(gradients(model, criterion(model, X, Y)), by_hand(same)) < 1e-12
        assert len(at_once) == step


CHANGES: dict[str, Callable[[Any], object]] = {
    "nothing": lambda model: None,
    "a setting": lambda model: setattr(model, "scale", 2.0),
    "a setting that was none": lambda model: setattr(model, "factor", 2.0),
    "a tensor": lambda model: setattr(model, "loose", torch.full((), 3.0, dtype=torch.float64)),
    "a tensor's number": lambda model: model.loose.fill_(3.0),
    "a new setting": lambda model: setattr(model, "more", 1),
    "a hook": lambda model: model.second.register_forward_hook(lambda _module, _args, output: 2 * output),
    "a forward of its own": lambda model: setattr(model.second, "forward", lambda x: x.sin()),
    "a module exchanged": lambda model: setattr(model, "second", nn.Sequential(nn.Linear(8, 8), nn.Sigmoid()).double()),
    "a frozen layer": lambda model: model.second.requires_grad_(False),
    "a parameter's numbers": lambda model: model.second.weight.data.mul_(2),
    "a parameter exchanged": lambda model: setattr(model.second, "weight", nn.Parameter(torch.eye(8, dtype=torch.float64))),
    "a buffer exchanged": lambda model: setattr(model, "shift", torch.full((8,), 0.3, dtype=torch.float64)),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore:engine 'compiled' does not support")
def test_what_has_changed_in_the_model_is_seen(change: str) -> None:
    criterion, model = made()
    CHANGES[change](model)
    for _ in range(3):
        assert distance(gradients(model, criterion(model, X, Y)), by_hand(model)) < 1e-12


def test_a_loss_is_differentiated_again_where_its_graph_is_kept() -> None:
    criterion, model = made()
    wanted = by_hand(model)
    loss = criterion(model, X, Y)
    loss.backward(retain_graph=True)
    loss.backward()
    assert (
        distance({name: parameter.grad for name, parameter in model.named_parameters()}, {name: 2 * g for name, g in wanted.items() if g is not None}) < 1e-12
    )
    with pytest.raises(RuntimeError, match=r"retain_graph=True"):
        loss.backward()


def test_the_gradients_of_a_step_are_the_parameters_own(at_once: list[ProgramStep]) -> None:
    criterion, model = made()
    wanted = by_hand(model)
    for way in ("call", "backward"):
        model.zero_grad()
        criterion(model, X, Y).backward() if way == "call" else criterion.backward(model, X, Y)
        for parameter in model.parameters():
            parameter.grad.mul_(3)  # what clipping does must not reach another one's
        found = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert distance(found, {name: 3 * g for name, g in wanted.items() if g is not None}) < 1e-12
    assert len(at_once) == 3


def test_weights_change_without_another_program(at_once: list[ProgramStep]) -> None:
    criterion, model = made((lambda step: 0.1 * (step + 1)) * ig.GradientNorm(power=2))
    for step in (2, 3, 4):
        assert distance(gradients(model, criterion(model, X, Y)), by_hand(model, 0.1 * (step + 1))) < 1e-12
    assert len({id(step.known.program) for step in at_once}) == 1
    assert len(at_once) == 4


def test_a_base_loss_whose_setting_changes_is_traced_anew() -> None:
    criterion, model = made()
    criterion.base.reduction = "sum"
    x = X.clone().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    expected = gradients(model, nn.functional.mse_loss(output, Y, reduction="sum") + 0.5 * g.square().sum(1).mean())
    for _ in range(2):
        assert distance(gradients(model, criterion(model, X, Y)), expected) < 1e-12


def test_closures_of_lbfgs_run_the_program(at_once: list[ProgramStep]) -> None:
    criterion, model = made()
    twin = copy.deepcopy(model)
    for net, step in ((model, criterion), (twin, ig.InputGradientLoss("mse", 0.5 * ig.GradientNorm(power=2), engine="double_backward"))):
        optimizer = torch.optim.LBFGS(net.parameters(), max_iter=5)

        def closure(net: nn.Module = net, step: ig.InputGradientLoss = step, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = step(net, X, Y)
            loss.backward()
            return loss

        optimizer.step(closure)
    assert len(at_once) >= 5
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_what_may_not_run_at_once_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, at_once: list[ProgramStep]) -> None:
    """The program of a model with hooks is guarded in the full way; that this is so is found once."""
    criterion, model = made(steps=0)
    model.second.register_forward_hook(lambda _module, _args, output: output * 1)
    for _ in range(2):
        criterion.backward(model, X, Y)
    monkeypatch.setattr(ModelStructure, "__init__", None)  # calling it would fail
    for _ in range(3):
        assert distance(gradients(model, criterion(model, X, Y)), by_hand(model)) < 1e-12
    assert at_once == []


def test_a_term_of_the_users_runs_at_once_while_what_it_holds_is_the_same(at_once: list[ProgramStep]) -> None:
    held = {"factor": 1.0}
    criterion, model = made(0.5 * ig.term(lambda batch: held["factor"] * batch.gradient().square().sum(1)), steps=1)
    for factor in (1.0, 2.0, 2.0, 1.0):
        held["factor"] = factor
        assert distance(gradients(model, criterion(model, X, Y)), by_hand(model, 0.5 * factor)) < 1e-12
    assert len(at_once) == 2  # another number is another form, not seen often enough for a program of its own


def test_nothing_is_walked() -> None:
    criterion, model = made()
    """By the library, that is; the compiler's own wrapper (torch 2.6) may walk."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        by_library = frame.f_back is not None and "inputgrad" in Path(frame.f_back.f_code.co_filename).parts
        calls[frame.f_code.co_name] += event == "call" and by_library

    sys.setprofile(count)
    try:
        criterion.backward(model, X, Y)
    finally:
        sys.setprofile(None)
    assert {name: calls[name] for name in ("named_modules", "named_parameters", "named_buffers", "model_form", "captured_state") if calls[name]} == {}
