"""Engines of several passes: what the passes must share, what a change of the model must undo, and who hears of a gradient when."""

import copy
import random
from collections import Counter
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.zoo import FEATURES, OUTPUTS

SEVERAL = ["finite_difference", "reverse_over_forward"]
ALL = ["double_backward", *SEVERAL]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, OUTPUTS)).double()


def data(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, FEATURES, generator=generator, dtype=torch.float64), torch.randn(size, OUTPUTS, generator=generator, dtype=torch.float64)


GENERATOR, CALLS = torch.Generator(), [0]


class OutsideNoise(nn.Module):
    """Draws from a generator that hangs on no module, which no replay puts back."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * (1 + 0.5 * torch.randn(x.shape, generator=GENERATOR, dtype=x.dtype)))


class OutsideCount(OutsideNoise):
    """Counts its calls in a variable of the program."""

    def forward(self, x: Tensor) -> Tensor:
        CALLS[0] += 1
        return self.body(x) * CALLS[0]


@pytest.mark.parametrize("engine", SEVERAL)
@pytest.mark.parametrize("make", [OutsideNoise, OutsideCount])
def test_a_model_that_cannot_be_replayed_is_refused(make: type[nn.Module], engine: str) -> None:
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(), engine=engine)
    with pytest.raises(ig.EngineError, match=r"two runs on the same input differ .* engine='double_backward', which runs it once"):
        criterion(make(), *data())


def check_gradients(model: nn.Module, by_hand: nn.Module, x: Tensor, y: Tensor, tolerance: float) -> None:
    """The ``.grad`` of the model, against a step of its twin with ‖∂(Σ output)/∂x‖² written out."""
    z = x.clone().requires_grad_()
    output = by_hand(z)
    (g,) = torch.autograd.grad(output.sum(), z, create_graph=True)
    wanted = torch.autograd.grad(nn.functional.mse_loss(output, y) + g.square().sum(1).mean(), list(by_hand.parameters()))
    for parameter, expected in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


class Remembering(nn.Module):
    """Keeps in plain attributes: a hidden state, a count of calls, a queue, a table, a tensor that it writes to, its last output, and a generator."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.cell = network(), nn.GRUCell(FEATURES, FEATURES).double()
        self.generator, self.hidden, self.calls, self.queue, self.table = torch.Generator().manual_seed(2), None, 0, [], {}
        self.written = torch.zeros(FEATURES, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        hidden = self.cell(x, torch.zeros_like(x) if self.hidden is None else self.hidden)
        self.hidden = hidden.detach()
        self.written.mul_(0.5).add_(self.hidden.mean(0))
        self.queue.append(self.hidden.mean(0))
        self.table["last"] = 1 + 0.5 * torch.randn(x.shape, generator=self.generator, dtype=x.dtype)
        self.last = self.body(hidden * self.table["last"] + sum(self.queue[-2:]) + self.written.clone()) * self.calls
        return self.last


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("engine", ["auto", *ALL])
def test_what_modules_keep_in_plain_attributes_changes_once_a_step(engine: str, at_once: bool) -> None:
    torch.manual_seed(0)
    model, (x, y) = Remembering(), data()
    if engine == "reverse_over_forward":  # forward mode allows no write to a tensor that is no part of it
        model.written.mul_ = lambda _: torch.zeros_like(x[0])  # type: ignore[method-assign]  # the method of this one tensor is exchanged on purpose
    by_hand = copy.deepcopy(model)
    by_hand.generator = torch.Generator().manual_seed(2)
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2), engine=engine)
    for _ in range(3):
        model.zero_grad()
        criterion.backward(model, x, y) if at_once else criterion(model, x, y).backward()
        check_gradients(model, by_hand, x, y, 1e-6 if engine == "finite_difference" else 1e-10)
        assert model.calls == by_hand.calls == len(model.queue)
        torch.testing.assert_close((model.hidden, model.written, model.last.detach()), (by_hand.hidden, by_hand.written, by_hand.last.detach()))


class Memory:
    """An object of a user's own, with a slot for each of two layers."""

    def __init__(self) -> None:
        self.calls, self.seen, self.times = 0, set[int](), Counter[str]()
        self.states = {"layers": [[torch.zeros(FEATURES, dtype=torch.float64)], []]}
        self.draw, self.array = random.Random(5), numpy.zeros(FEATURES)
        self.generator = numpy.random.default_rng(6)


class RememberingDeep(nn.Module):
    """Keeps its state behind several doors: a namespace in a list, with a dictionary of lists of tensors, a set, and generators of Python and numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.kept = network(), [SimpleNamespace(memory=Memory())]

    def forward(self, x: Tensor) -> Tensor:
        memory = self.kept[0].memory
        memory.calls += 1
        memory.seen.add(memory.calls)
        memory.times["forward"] += 1
        memory.states["layers"][0][0] = memory.states["layers"][0][0] + x.detach().mean(0)
        memory.states["layers"][1].append(x.detach().sum())
        memory.array += 0.1
        factor = (
            memory.calls * (1 + memory.draw.random()) * memory.generator.random() + len(memory.seen) * memory.times.total() + len(memory.states["layers"][1])
        )
        return self.body(x + memory.states["layers"][0][0].clone() + torch.as_tensor(memory.array.copy())) * factor


@pytest.mark.parametrize("engine", ["auto", *ALL])
def test_what_objects_of_a_module_keep_changes_once_a_step(engine: str) -> None:
    torch.manual_seed(0)
    model, (x, y) = RememberingDeep(), data()
    by_hand, criterion = copy.deepcopy(model), ig.InputGradientLoss("mse", ig.GradientNorm(power=2), engine=engine)
    for step in range(1, 4):
        model.zero_grad()
        criterion.backward(model, x, y)
        check_gradients(model, by_hand, x, y, 1e-6 if engine == "finite_difference" else 1e-10)
        assert model.kept[0].memory.calls == len(model.kept[0].memory.states["layers"][1]) == step


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class CubeLayer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)


def test_what_was_proven_of_a_model_is_forgotten_with_its_layers() -> None:
    model, criterion = network(), ig.InputGradientLoss("mse", ig.GradientNorm(), engine="double_backward")
    criterion(model, *data()).backward()
    model.append(CubeLayer())
    with pytest.raises(ig.EngineError, match="once_differentiable"):
        criterion(model, *data())


@pytest.mark.parametrize("engine", ALL)
def test_two_terms_with_respect_to_different_inputs(engine: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.body(a) * self.body(b.sin())

    model, (x, y) = Two(), data()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2, wrt=0) + ig.GradientNorm(power=2, wrt=1), engine=engine)
    found = torch.autograd.grad(criterion(model, (x, x.cos()), y), list(model.parameters()))
    a, b = x.clone().requires_grad_(), x.cos().requires_grad_()
    output = model(a, b)
    ga, gb = torch.autograd.grad(output.sum(), (a, b), create_graph=True)
    total = nn.functional.mse_loss(output, y) + ga.square().sum(1).mean() + gb.square().sum(1).mean()
    for one, other in zip(found, torch.autograd.grad(total, list(model.parameters())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("engine", ALL)
def test_an_optimiser_in_the_backward_pass_gets_one_whole_gradient(engine: str) -> None:
    results = []
    for at_once in (False, True):
        model, calls = network(), []

        def step(parameter: nn.Parameter, calls: list[int] = calls) -> None:
            calls.append(id(parameter))
            with torch.no_grad():
                parameter -= 0.1 * parameter.grad
            parameter.grad = None

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(step)
        criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2), engine=engine)
        if at_once:
            criterion.backward(model, *data())
        else:
            criterion(model, *data()).backward()
        assert len(calls) == len(set(calls)) == 4
        results.append([parameter.detach().clone() for parameter in model.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("engine", ALL)
def test_the_users_hooks_hear_one_gradient(engine: str) -> None:
    model, heard = network(), []
    model[0].weight.register_hook(lambda gradient: heard.append(gradient.clone()))
    (nn.MSELoss() + ig.InputGradientLoss("mse", ig.GradientNorm(), engine=engine).terms[0])(model, *data()).backward()
    assert len(heard) == 1


@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_a_loss_scale_under_float16_autocast_saves_small_cotangents(scale: float) -> None:
    """The error of the library's gradient is that of plain torch: cotangents are not formed in half precision before they are scaled."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 256))
    x = torch.randn(512, 16)
    target = model(x).detach() + 0.01 * torch.randn(512, 256)
    gradients = []
    for criterion in (None, ig.InputGradientLoss("mse", 0 * ig.GradientNorm())):
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.mse_loss(model(x), target) if criterion is None else criterion(model, x, target)
        found = torch.autograd.grad(loss * scale, list(model.parameters()))
        gradients.append(torch.cat([part.flatten() for part in found]) / scale)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=2e-2, atol=2e-5)


class Teacher(nn.Module):
    """A network multiplied by a frozen one, which follows it in the forward pass, written in one of three ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.teacher, self.way = network(), copy.deepcopy(network()).requires_grad_(False), way
        self.teacher[0].weight.mul_(2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for slow, quick in zip(self.teacher.parameters(), self.body.parameters(), strict=True):
                if self.way == "in place":
                    slow.mul_(0.9).add_(quick, alpha=0.1)
                elif self.way == "data in place":
                    slow.data.mul_(0.9).add_(quick.data, alpha=0.1)
                else:
                    slow.data = 0.9 * slow.data + 0.1 * quick.data
            wanted = self.teacher(x)
        return self.body(x) * wanted


@pytest.mark.parametrize("way", ["in place", "data in place", "data"])
@pytest.mark.parametrize("engine", ["auto", "double_backward", "finite_difference"])
def test_a_frozen_teacher_that_follows_in_the_forward_pass_does_so_once_a_step(engine: str, way: str) -> None:
    model, by_hand, (x, y) = Teacher(way), Teacher(way), data()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2), engine=engine)
    for _ in range(3):
        model.zero_grad()
        criterion(model, x, y).backward()
        z = x.clone().requires_grad_()
        output = by_hand(z)
        (g,) = torch.autograd.grad(output.sum(), z, create_graph=True)
        wanted = torch.autograd.grad(nn.functional.mse_loss(output, y) + g.square().sum(1).mean(), list(by_hand.body.parameters()))
        for parameter, expected in zip(model.body.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))
        for one, other in zip(model.teacher.parameters(), by_hand.teacher.parameters(), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("engine", ALL)
def test_a_torch_that_raises_where_there_is_no_device_is_one_without_devices(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.6 does; later releases give None."""

    def current_accelerator() -> None:
        raise RuntimeError("Cannot access accelerator device when none is available.")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", current_accelerator)
    model, (x, y) = network(), data()
    criterion = ig.InputGradientLoss("mse", 0.1 * ig.GradientNorm(power=2), engine=engine)
    for _ in range(3):
        assert torch.isfinite(criterion.backward(model, x, y).loss)
