"""The engine ``compiled`` in a plain training loop: what must not change, and what must not be compiled again."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from inputgrad.memory import memory
from inputgrad.step.plain_step import PlainStep
from inputgrad.tracing.compiled_step import CompiledStep
from tests.joint.loops import batch, compiled, loss, network


def programs(criterion: nn.Module, model: nn.Module) -> list[CompiledStep]:
    shapes = memory(model).compiled[criterion].shapes.values()
    return [shape.step for shape in shapes if shape.step is not None]


def trained(criterion: nn.Module, model: nn.Module, sizes: list[int], step: Callable[[nn.Module, nn.Module, int, int], None]) -> list[Tensor]:
    for number, size in enumerate(sizes):
        step(criterion, model, number, size)
    return [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())]


def adam_step(optimizer: torch.optim.Optimizer) -> Callable[[nn.Module, nn.Module, int, int], None]:
    def step(criterion: nn.Module, model: nn.Module, number: int, size: int) -> None:
        optimizer.zero_grad()
        criterion(model, *batch(size, number)).backward()
        optimizer.step()

    return step


def assert_same_training(make: Callable[[], nn.Module], sizes: list[int], one: Any, other: Any, weight: Any = 0.3) -> tuple[nn.Module, nn.Module]:
    results, last = [], None
    for kind in (one, other):
        model, criterion = make(), loss(kind, weight)
        torch.manual_seed(5)
        results.append(trained(criterion, model, sizes, adam_step(torch.optim.Adam(model.parameters(), lr=0.01))))
        last = (criterion, model)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    return last


@pytest.mark.filterwarnings("ignore:.*couples the samples")
@pytest.mark.parametrize("middle", [(nn.SiLU,), (nn.ReLU, nn.Dropout), (nn.BatchNorm1d, nn.ReLU)], ids=str)
def test_training_is_the_eager_one(middle: tuple[type[nn.Module], ...]) -> None:
    """Weights, running statistics and, draw for draw, the dropout masks."""

    def make() -> nn.Module:
        return network(*(kind(16) if kind is nn.BatchNorm1d else kind() for kind in middle))

    criterion, model = assert_same_training(make, [8] * 6, "double_backward", compiled())
    assert len(programs(criterion, model)) == 1


@pytest.mark.filterwarnings("ignore:.*couples the samples")
def test_another_batch_size_is_right_and_compiled_only_when_it_comes_often() -> None:
    """Batch statistics below autograd with symbolic shapes were silently wrong: a program here holds for one shape."""

    def make() -> nn.Module:
        return network(nn.BatchNorm1d(16), nn.ReLU())

    sizes = [8, 8, 5, 8, 5, 5, 8, 2]
    criterion, model = assert_same_training(make, sizes, "double_backward", compiled(after=2))
    assert len(programs(criterion, model)) == 2


def test_a_batch_of_one() -> None:
    assert_same_training(network, [1, 1, 1], "double_backward", compiled())


def test_a_weight_on_a_schedule_is_not_compiled_again() -> None:
    criterion, model = assert_same_training(network, [8] * 5, "double_backward", compiled(), weight=lambda step: 0.1 * step)
    assert len(programs(criterion, model)) == 1


def test_dropout_draws_another_mask_each_step() -> None:
    model, criterion = network(nn.Dropout(0.5)), loss(compiled())
    values = {criterion(model, *batch()).item() for _ in range(6)}
    assert len(values) == 6


def test_gradients_accumulate_and_frozen_and_unused_parameters_keep_none() -> None:
    model, criterion = network(), loss(compiled())
    model.spare = nn.Linear(2, 2)
    model[0].bias.requires_grad_(False)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    criterion(model, *batch()).backward()
    once = model[0].weight.grad.clone()
    criterion.backward(model, *batch())
    torch.testing.assert_close(model[0].weight.grad, 2 * once)
    assert model[0].bias.grad is None
    assert model.spare.weight.grad is None


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_the_users_hooks_hear_the_gradient(method: str) -> None:
    model, criterion, heard = network(), loss(compiled()), []
    model[0].weight.register_hook(lambda gradient: heard.append(gradient.clone()))
    model[2].weight.register_post_accumulate_grad_hook(lambda parameter: heard.append(parameter.grad.clone()))
    if method == "forward":
        criterion(model, *batch()).backward()
    else:
        criterion.backward(model, *batch())
    assert len(heard) == 2
    torch.testing.assert_close(heard[0], model[0].weight.grad)


def test_unfreezing_evaluation_mode_and_thawing_make_programs_of_their_own() -> None:
    model, criterion, eager = network(nn.Dropout(0.5)), loss(compiled(after=0)), loss("double_backward")
    model[0].requires_grad_(False)
    criterion(model, *batch()).backward()
    model[0].requires_grad_(True)
    model.eval()
    results = [torch.autograd.grad(kind(model, *batch()), list(model.parameters())) for kind in (criterion, eager)]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
    assert len(programs(criterion, model)) == 2


class Undecided(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if x.detach().sum().item() > -1e9 else self.body(-x)


class Elsewhere(nn.Module):
    """A parameter outside the model, which a term reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))


def test_what_cannot_be_traced_runs_eagerly_with_one_warning() -> None:
    model, criterion = Undecided(), loss(compiled())
    with pytest.warns(UserWarning, match="engine 'compiled' does not support Undecided: .*runs eagerly"):
        criterion(model, *batch()).backward()
    criterion(model, *batch()).backward()  # a second warning would be an error here


@pytest.mark.parametrize("way", ["what cannot be traced", "a term that carries a state"])
def test_what_is_not_compiled_makes_plain_steps_like_any_other(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: list[PlainStep] = []
    run = PlainStep.run
    monkeypatch.setattr(PlainStep, "run", lambda step, *args, **kwargs: plain.append(step) or run(step, *args, **kwargs))
    model = Undecided() if way == "what cannot be traced" else network()
    term = ig.GradientNorm(of="loss", power=2) if way == "what cannot be traced" else ig.Adversarial(ig.Carried(0.05))
    criterion, eager = (ig.InputGradientLoss("cross_entropy", 0.3 * copy.deepcopy(term), engine=engine) for engine in (compiled(), "double_backward"))
    with pytest.warns(UserWarning, match="engine 'compiled' does not support"):
        criterion(model, *batch())
    eager(model, *batch())
    for count in (1, 2, 3):
        found, wanted = (torch.autograd.grad(one(model, *batch()), list(model.parameters())) for one in (criterion, eager))
        torch.testing.assert_close(found, wanted)
        assert len(plain) == 2 * count


def test_a_loss_that_reaches_other_tensors_runs_eagerly() -> None:
    elsewhere = Elsewhere()
    term = ig.term(lambda batch: elsewhere.scale * batch.gradient().square().sum(1))
    model, criterion = network(), ig.InputGradientLoss("cross_entropy", term, engine=compiled())
    with pytest.warns(UserWarning, match="reaches 1 tensor"):
        criterion(model, *batch()).backward()
    assert elsewhere.scale.grad is not None


def test_a_program_that_is_off_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The safeguard that `detach` nodes, merged sizes and wrong kernels would meet."""
    right = CompiledStep.__call__

    def wrong(self: CompiledStep, *args: Any, **settings: Any) -> Any:
        result = right(self, *args, **settings)
        result.gradients["0.weight"].mul_(1.01)
        return result

    monkeypatch.setattr(CompiledStep, "__call__", wrong)
    model, criterion, eager = network(), loss(compiled()), loss("double_backward")
    with pytest.warns(UserWarning, match="differs from the eager one by"):
        found = torch.autograd.grad(criterion(model, *batch()), model[0].weight)[0]
    torch.testing.assert_close(found, torch.autograd.grad(eager(model, *batch()), model[0].weight)[0])


def test_validation_and_parts() -> None:
    model, criterion, eager = network(), loss(compiled()), loss("double_backward")
    step, expected = criterion.evaluate(model, *batch()), eager.evaluate(model, *batch())
    assert step.parts.keys() == expected.parts.keys()
    torch.testing.assert_close(step.output, expected.output)
    with torch.no_grad():
        torch.testing.assert_close(criterion(model, *batch()), expected.loss.detach())


def test_the_compiler_itself() -> None:
    """Once with the compiler that users get; all else here runs the joint graph without it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert_same_training(network, [8] * 3, "double_backward", Compiled())


def test_half_precision_is_served_though_the_compiler_rounds_elsewhere() -> None:
    """By the real compiler: only it moves the roundings. A step that is handed on warns, which fails the test.

    The compilers of torch 2.6 and 2.8 round so far off (1.7e-3) that the first comparison hands this model to the eager step.
    """
    model, (inputs, target) = network().float(), batch(32)
    criterion = loss(Compiled())
    with torch.autocast("cpu", torch.bfloat16):
        if torch.__version__ >= "2.10":
            criterion(model, inputs.float(), target).backward()
            assert programs(criterion, model)
        else:
            with pytest.warns(UserWarning, match="its parameter gradient on the first batch differs from the eager one"):
                criterion(model, inputs.float(), target).backward()
            assert not programs(criterion, model)
