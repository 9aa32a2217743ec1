"""Steps after the first: made as one would write them by hand, on the whole table; in full again as soon as something has changed that decides."""

import copy
import gc
import math
import pickle
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

import inputgrad as ig
from inputgrad.step.plain_step import PlainStep
from tests.core.ordinary import ordinary
from tests.core.test_module_db import ATTENTION, BY_NAME, NEVER, OUR_OWN, Result, by_textbook, samples, target_of
from tests.table import CASES, TOLERANCES, error
from tests.textbook import Gradients, distance

Counted = list[PlainStep]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The plain steps that are made."""
    made: Counted = []
    run = PlainStep.run

    def counted(step: PlainStep, *args: Any, **kwargs: Any) -> Tensor:
        made.append(step)
        return run(step, *args, **kwargs)

    monkeypatch.setattr(PlainStep, "run", counted)
    return made


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("mostly_unverified")
@pytest.mark.parametrize("name", CASES)
def test_the_second_step_is_the_textbooks(name: str) -> None:
    assert error(CASES[name], "auto", earlier_steps=1) <= TOLERANCES["double_backward"]


class Net(nn.Module):
    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(self.dropout(torch.tanh(self.first(x))))))


def parameter_gradients(model: nn.Module, loss: Tensor) -> Gradients:
    """The gradients of one loss, which a later call does not write over."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return dict(zip(named, found, strict=True))


X, Y = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.zeros(6, 1, dtype=torch.float64)


def made(terms: Any = None, *, steps: int = 2, model: nn.Module | None = None, **settings: Any) -> tuple[ig.InputGradientLoss, nn.Module]:
    """A criterion and a model that have made some steps."""
    model = model or Net().double()
    criterion = ig.InputGradientLoss("mse", 0.5 * ig.GradientNorm(power=2) if terms is None else terms, **settings)
    for _ in range(steps):
        criterion(model, X, Y).backward()
    model.zero_grad()
    return criterion, model


def test_the_steps_after_the_first_are_plain(plain: Counted) -> None:
    criterion, model = made(steps=4)
    assert len(plain) == 3
    criterion.backward(model, X, Y)
    assert len(plain) == 4
    assert criterion.step_number == 5


def by_hand(model: nn.Module, *, weight: float = 0.5, base: Callable[[Tensor, Tensor], Tensor] | None = None) -> Gradients:
    x = X.clone().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return parameter_gradients(model, (base or nn.functional.mse_loss)(output, Y) + weight * g.square().sum(1).mean())


def _mask(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return output * 2


CHANGES: dict[str, Callable[[Any], object]] = {
    "nothing": lambda model: None,
    "a module exchanged": lambda model: setattr(model, "second", nn.Sequential(nn.Linear(8, 8), nn.Sigmoid()).double()),
    "a module added": lambda model: setattr(model, "last", nn.Sequential(model.last, nn.Softplus())),
    "a forward hook": lambda model: model.second.register_forward_hook(_mask),
    "a hook before forward": lambda model: model.second.register_forward_pre_hook(lambda _module, args: (args[0] * 3,)),
    "evaluation": lambda model: model.eval(),
    "a frozen layer": lambda model: model.second.requires_grad_(False),
    "a parametrization": lambda model: parametrizations.weight_norm(model.second),
    "a forward of its own": lambda model: setattr(model.second, "forward", lambda x: x.sin()),
    "a parameter exchanged": lambda model: setattr(model.second, "weight", nn.Parameter(torch.eye(8, dtype=torch.float64))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_in_the_model_is_seen(change: str) -> None:
    criterion, model = made()
    CHANGES[change](model)
    for _ in range(3):
        assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model)) < 1e-12


def test_a_parameter_set_free_again_learns_again(plain: Counted) -> None:
    criterion, model = made()
    for learns in (False, True, False):
        model.get_submodule("first").requires_grad_(learns)
        assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model)) < 1e-12


def test_what_has_changed_in_the_criterion_is_seen() -> None:
    criterion, model = made()
    criterion.base = nn.L1Loss()
    assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model, base=nn.functional.l1_loss)) < 1e-12
    criterion.terms = (2.0 * ig.GradientNorm(power=2),)
    assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model, weight=2, base=nn.functional.l1_loss)) < 1e-12
    criterion.engine = ig.engines.resolve("finite_difference")
    difference = distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model, weight=2, base=nn.functional.l1_loss))
    assert 1e-14 < difference < 1e-6


class Doubled(nn.MSELoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return 2 * super().forward(input, target)


def _of_all(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return 2 * output if isinstance(module, nn.MSELoss) else output


BASES: dict[str, tuple[Callable[[], Any], float]] = {
    "as it stands": (nn.MSELoss, 1),
    "a class of the user's": (Doubled, 2),
    "a sum": (lambda: nn.MSELoss(reduction="sum"), float(Y.numel())),
    "one number per element": (lambda: nn.MSELoss(reduction="none"), 1),
    "on a part of the target": (lambda: ig.OnTarget(0), 1),
}


@pytest.mark.parametrize("base", BASES)
def test_torchs_losses_are_what_they_are_by_themselves(base: str, plain: Counted) -> None:
    make, factor = BASES[base]
    model, criterion = Net().double(), ig.InputGradientLoss(make(), 0.5 * ig.GradientNorm(power=2))
    target: Any = (Y, X) if base == "on a part of the target" else Y
    for _ in range(3):
        found = parameter_gradients(model, criterion(model, X, target))
        assert distance(found, by_hand(model, base=lambda output, y: factor * nn.functional.mse_loss(output, y))) < 1e-12
    assert len(plain) == 2


@pytest.mark.parametrize("hook", ["of the loss", "before the loss", "of all modules", "a forward of its own"])
def test_a_hook_on_the_base_loss_is_heard(hook: str, plain: Counted) -> None:
    criterion, model = made(steps=3)
    assert isinstance(criterion.base, nn.MSELoss)
    handle = None
    if hook == "of the loss":
        criterion.base.register_forward_hook(lambda _module, _args, output: 2 * output)
    elif hook == "before the loss":
        criterion.base.register_forward_pre_hook(lambda _module, args: tuple(math.sqrt(2) * arg for arg in args))
    elif hook == "of all modules":
        handle = nn.modules.module.register_module_forward_hook(_of_all)
    else:
        criterion.base.forward = lambda output, y: 2 * nn.functional.mse_loss(output, y)  # type: ignore[method-assign]  # what is tried
    try:
        found = parameter_gradients(model, criterion(model, X, Y))
    finally:
        if handle is not None:
            handle.remove()
    assert distance(found, by_hand(model, base=lambda output, y: 2 * nn.functional.mse_loss(output, y))) < 1e-12
    assert len(plain) == 3


def test_weights_that_follow_the_step_number() -> None:
    criterion, model = made((lambda step: 0.1 * (step + 1)) * ig.GradientNorm(power=2))
    for step in (2, 3, 4):
        assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model, weight=0.1 * (step + 1))) < 1e-12


def test_a_term_at_every_third_step(plain: Counted) -> None:
    criterion, model = made((0.5 * ig.GradientNorm(power=2)).scheduled(every=3), steps=0)
    for step in range(7):
        weight = 1.5 if step % 3 == 0 else 0.0
        assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model, weight=weight)) < 1e-12
    assert len(plain) == 5


class AsksLater(ig.terms.base.Term):
    """A term that from its third call on asks for a pass of its own."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        gradient = batch.gradient()
        if self.calls - 1 in LATER:
            return gradient.square().sum(1) + batch.output_with({0: batch.variable(0) + 0.1}).squeeze(1)
        return gradient.square().sum(1)


LATER: set[int] = set()


def test_a_term_that_asks_for_more_than_before_gets_it_on_the_same_dropout_masks(plain: Counted) -> None:
    def step(*, plainly: bool) -> Gradients:
        criterion, model = made(0.5 * AsksLater(), steps=0, model=Net(dropout=0.5).double(), verify=False)
        LATER.clear()
        for _ in range(2 if plainly else 0):
            criterion(model, X, Y)
        LATER.update(range(100))
        torch.manual_seed(7)
        found = parameter_gradients(model, criterion(model, X, Y))
        after.append(torch.rand(()))
        return found

    after: list[Tensor] = []
    assert distance(step(plainly=True), step(plainly=False)) < 1e-12
    assert len(plain) == 2
    assert torch.equal(*after)


PUBLIC = [getattr(ig.terms, name) for name in ig.terms.__all__]
GRADIENTS_ALONE = [kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, ig.terms.Term) and not kind.further_passes]


@pytest.mark.parametrize("kind", GRADIENTS_ALONE, ids=lambda kind: kind.__name__)
def test_terms_that_say_so_ask_for_gradients_alone(kind: type[ig.terms.Term], plain: Counted) -> None:
    """And their second step is the same as the first of another criterion."""
    torch.manual_seed(0)
    model, inputs, target, base = ordinary(kind)
    criterion, fresh = (ig.InputGradientLoss(base, kind.example(), engine="double_backward") for _ in range(2))
    criterion(model, inputs, target)
    fresh.load_state_dict(criterion.state_dict())
    torch.manual_seed(1)
    found = parameter_gradients(model, criterion(model, inputs, target))
    assert len(plain) == 1
    torch.manual_seed(1)
    assert distance(found, parameter_gradients(model, fresh(model, inputs, target))) < 1e-5
    assert len(plain) == 1


class Weighted(ig.heads.SumOfOutputs):
    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return 3 * super().__call__(output, target)


def test_a_head_derived_from_one_of_ours_gives_its_own_scores(plain: Counted) -> None:
    criterion, model = made(0.5 * ig.GradientNorm(power=2, of=Weighted()))
    assert distance(parameter_gradients(model, criterion(model, X, Y)), by_hand(model, weight=9 * 0.5)) < 1e-12
    assert len(plain) == 2


def test_the_record_of_a_step_holds_the_same_as_the_first_ones(plain: Counted) -> None:
    """The output too: none, where neither a base loss nor a term asked for it."""
    for base in ("mse", None):
        criterion, model = ig.InputGradientLoss(base, ig.GradientNorm(power=2)), Net().double()
        first, second = (criterion.evaluate(model, X, Y) for _ in range(2))
        assert (first.output is None) == (second.output is None) == (base is None)
        assert first.parts.keys() == second.parts.keys()
        torch.testing.assert_close(second.loss, first.loss)
    assert len(plain) == 2


class Pairs(nn.Module):
    """An energy of pairs of neighbours, and a running mean that each pass moves."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.norm = nn.Linear(1, 1), nn.BatchNorm1d(1)

    def forward(self, x: Tensor) -> Tensor:
        self.norm(torch.ones(2, 1, dtype=x.dtype))
        distances = (x[:, None] - x[None]).square().sum(-1)
        near = (distances < 1) & (distances > 0)
        energy = self.net(distances[near][:, None]).tanh().sum() if near.any() else x.new_zeros(())
        return energy.expand(len(x))


@pytest.mark.filterwarnings("ignore:module .norm.:UserWarning")
def test_a_batch_without_a_path_is_one_pass_too(plain: Counted) -> None:
    near, far = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]).double(), torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]).double()
    model, criterion = Pairs().double(), ig.InputGradientLoss(None, ig.GradientNorm(power=2), verify=False)
    for number, x in enumerate((near, near, far, near), 1):
        model.zero_grad()
        loss = criterion(model, x)
        loss.backward()
        assert bool(loss) == (x is near)
        assert int(model.norm.num_batches_tracked) == number
    assert len(plain) == 3


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [name for name in BY_NAME if "Lazy" not in name])
def test_the_second_step_of_torchs_modules_is_that_of_another_criterion(name: str) -> None:
    """Loss, parameter gradients, buffers and the random state afterwards, on the first sample with a derivative of each module of torch's own list."""

    def step(criterion: ig.InputGradientLoss) -> list[Tensor | None]:
        model.load_state_dict(state)
        torch.manual_seed(2)
        loss = criterion(model, inputs, target)
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(loss, learning, allow_unused=True)
        return [loss.detach(), *found, *(buffer.clone() for buffer in model.buffers()), torch.rand(1)]

    sample = next((sample for sample in samples(BY_NAME[name]) if isinstance(by_textbook(sample), Result)), None)
    if sample is None:  # torch has no second derivative here, for any way of making the step
        assert name in {*NEVER, *ATTENTION, *OUR_OWN}
        return
    model, inputs, target = sample.model(), sample.inputs()[0], target_of(sample)
    known, fresh = (ig.InputGradientLoss(nn.MSELoss(), ig.GradientNorm(wrt=sample.key), engine="double_backward", verify=False) for _ in range(2))
    state = copy.deepcopy(model.state_dict())
    known(model, inputs, target)
    for found, expected in zip(step(known), step(fresh), strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11, equal_nan=True)


class WritesOnItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.mul_(2))


def test_a_model_that_writes_on_its_input_does_not_reach_the_users() -> None:
    criterion, model = made(model=WritesOnItsInput().double(), steps=0)
    before = X.clone()
    for _ in range(3):
        criterion(model, X, Y).backward()
    assert torch.equal(X, before)


def test_inputs_that_require_grad_get_theirs() -> None:
    criterion, model = made()
    for with_graph in (False, True):
        x, again = (X.clone().requires_grad_() for _ in range(2))
        criterion(model, x * 1 if with_graph else x, Y).backward()
        output = model(again)
        (g,) = torch.autograd.grad(output.sum(), again, create_graph=True)
        (nn.functional.mse_loss(output, Y) + 0.5 * g.square().sum(1).mean()).backward()
        torch.testing.assert_close(x.grad, again.grad)


def test_large_inputs_get_no_gradient_that_nobody_asked_for(plain: Counted) -> None:
    model, criterion = nn.Linear(70000, 1), ig.InputGradientLoss("mse", ig.GradientNorm(power=2))
    x, y = torch.randn(2, 70000), torch.zeros(2, 1)
    for _ in range(2):
        model.zero_grad()
        criterion.backward(model, x, y)
    assert len(plain) == 1
    assert all(z.grad is None for z in plain[0].source.variables.values())
    expected = parameter_gradients(model, criterion(model, x, y))
    assert distance({name: p.grad for name, p in model.named_parameters()}, expected) < 1e-6


def test_a_plain_step_may_be_differentiated_again() -> None:
    """Its graph is complete: a product of the loss's Hessian with a direction is that of the same lines by hand."""
    criterion, model = made()
    found = _curvature(model, criterion(model, X, Y))
    x = X.clone().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    for part, expected in zip(found, _curvature(model, nn.functional.mse_loss(output, Y) + 0.5 * g.square().sum(1).mean()), strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-14)


def _curvature(model: nn.Module, loss: Tensor) -> tuple[Tensor, ...]:
    parameters = [parameter for name, parameter in model.named_parameters() if name != "last.bias"]
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    return torch.autograd.grad(sum(gradient.sum() for gradient in gradients), parameters)


def test_where_our_derivatives_stand_for_torchs_the_loss_has_no_second_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inputgrad.derivatives.twice_differentiable.LEAST", 0)  # the size from which they do
    criterion, model = made(model=nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1)).double())
    with pytest.raises(ig.EngineError, match="can be differentiated with respect to the parameters once, not twice"):
        criterion(model, X, Y).backward(create_graph=True)


def test_ones_that_somebody_has_written_on_are_made_anew() -> None:
    criterion, model = made()

    wanted = by_hand(model)
    x = X.clone().requires_grad_()
    criterion(model, X, Y)
    form = criterion._forms._models[model].forms[0].plain
    assert form is not None
    ones = form.ones(model(x))
    ones.mul_(5)
    for _ in range(2):
        assert distance(parameter_gradients(model, criterion(model, X, Y)), wanted) < 1e-12


@pytest.mark.parametrize("norm", ["squared", "absolute", "vectors", "huber", "euclidean"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_label_that_is_missing_at_a_later_step_only_is_seen(norm: Any, reduction: Any, plain: Counted) -> None:
    model = Net().double()
    criterion = ig.OnTarget("y") + ig.GradientMatch("g", norm=norm, reduction=reduction, delta=0.1)
    criterion += 0.3 * ig.DirectionalDerivative(torch.eye(3, dtype=torch.float64)[0], lambda batch: batch.target["g"][:, 0], of="output")
    whole = torch.linspace(-1, 1, 18, dtype=torch.float64).reshape(6, 3)
    missing = whole.clone()
    missing[1, 2] = missing[4] = math.nan
    for labels in (whole, whole, missing, whole, missing):
        found = parameter_gradients(model, criterion(model, X, {"y": Y, "g": labels}))
        again = ig.OnTarget("y") + ig.GradientMatch("g", mask="m", norm=norm, reduction=reduction, delta=0.1)
        again += 0.3 * ig.DirectionalDerivative(torch.eye(3, dtype=torch.float64)[0], lambda batch: batch.target["g"][:, 0], of="output")
        there = ~labels.isnan()
        assert distance(found, parameter_gradients(model, again(model, X, {"y": Y, "g": labels, "m": there}))) < 1e-12
        assert all(bool(g.isfinite().all()) for g in found.values() if g is not None)
    assert len(plain) == 4


def test_errors_are_those_of_the_first_step() -> None:
    criterion, model = made()
    with pytest.raises(ValueError, match="target has shape"):
        criterion(model, X, Y[:3])
    with pytest.raises(ValueError, match=r"inputs\[0\] has 1 of 18 values that are NaN"):
        criterion(model, X.clone().index_fill_(0, torch.tensor(0), 1).put_(torch.tensor(0), torch.tensor(float("nan")).double()), Y)


def test_evaluation_and_no_grad_are_as_before(plain: Counted) -> None:
    criterion, model = made()
    made_before = len(plain)
    with torch.no_grad():
        assert not criterion(model, X, Y).requires_grad
    assert len(plain) == made_before


def test_a_criterion_is_copied_and_pickled_after_steps(plain: Counted) -> None:
    criterion, model = made()
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert distance(parameter_gradients(model, twin(model, X, Y)), by_hand(model)) < 1e-12


def test_a_model_dies_though_a_criterion_knows_it() -> None:
    criterion, model = made()
    model.get_submodule("first").owner = [model]  # a part that knows the whole
    criterion(model, X, Y).backward()
    held = weakref.ref(model)
    del model
    gc.collect()
    assert held() is None
    assert criterion.step_number == 3


@pytest.mark.parametrize("way", ["call", "backward"])
def test_nothing_is_walked_and_no_state_is_copied(way: str) -> None:
    criterion, model = made(model=nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double())
    criterion.backward(model, X, Y)  # what is looked at once a form has been
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        calls[frame.f_code.co_name] += event == "call"

    sys.setprofile(count)
    try:
        criterion.backward(model, X, Y) if way == "backward" else criterion(model, X, Y)
    finally:
        sys.setprofile(None)
    walks = ("named_modules", "named_parameters", "named_buffers", "getstate", "get_rng_state", "copied_buffers", "__torch_function__")
    assert {name: calls[name] for name in walks if calls[name]} == {}
    assert calls.total() < 250, "Python calls of a step; 1100 when all is looked at anew"


class Radial(nn.Module):
    """Functions of the input before the first weight, many times its size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(128, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.exp(-((x[..., None] - torch.linspace(0, 1, 128)) ** 2)).sum(1))


class Large(TorchDispatchMode):
    """Counts the operations that give a large tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += isinstance(result, Tensor) and result.numel() >= 2**16 and not func.is_view
        return result


def test_nothing_large_is_computed_for_inputs_that_are_small() -> None:
    model, x, y = Radial(), torch.rand(64, 20), torch.rand(64, 1)
    criterion = ig.InputGradientLoss("mse", [ig.GradientNorm(power=2, of="output")])
    for _ in range(3):
        model.zero_grad()
        with Large() as ours:
            criterion.backward(model, x, y)
    z = x.clone().requires_grad_()
    with Large() as lean:
        output = model(z)
        (g,) = torch.autograd.grad(output.sum(), z, create_graph=True)
        (torch.nn.functional.mse_loss(output, y) + g.square().sum(1).mean()).backward(inputs=list(model.parameters()))
    assert ours.count == lean.count


def test_after_a_backward_pass_that_raised_the_step_is_made_in_full() -> None:
    """A model that comes to call what has no second derivative: a step in full goes another way."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            ctx.save_for_backward(z)
            return z.sin()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad * ctx.saved_tensors[0].cos()

    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.calls = nn.Linear(3, 5).double(), nn.Linear(5, 2).double(), torch.sin

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.b(self.calls(self.a(x)))
            return out

    model, x = Switched(), torch.randn(6, 3, dtype=torch.float64)
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2))
    for _ in range(3):
        criterion.backward(model, x)
    model.calls = Once.apply
    with pytest.raises(RuntimeError, match="once_differentiable"):
        criterion.backward(model, x)
    with pytest.warns(UserWarning, match="engine='auto' takes 'finite_difference'"):
        criterion.backward(model, x)
    found = []
    for loss in (criterion, ig.InputGradientLoss(None, ig.GradientNorm(power=2))):
        model.zero_grad()
        loss.backward(model, x)
        found.append([None if parameter.grad is None else parameter.grad.tolist() for parameter in model.parameters()])
    assert found[0] == found[1]
