"""Models of one's own whose passes called no operation of ours: run unwatched, and right all the same when their Python goes another way."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

import inputgrad as ig

pytestmark = pytest.mark.usefixtures("unverified")  # runs of the model are counted

X, Y = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.zeros(10, 1, dtype=torch.float64)
WATCHED, UNWATCHED = [1], [0]
TERMS: dict[str, Callable[[], Any]] = {
    "of the step's own pass": lambda: ig.GradientNorm(power=2),
    "at a place": lambda: ig.GradientNorm(power=2, at=ig.Given(X + 0.5)),
}


class Net(nn.Module):
    """A network whose hidden layer passes through a function that can be exchanged, and which tells how many modes were active in each pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 1)
        self.double()

    def forward(self, x: Tensor) -> Any:
        _SEEN.append(len(_get_current_function_mode_stack()))
        return _WRAP[0](self.last(_FUNCTION[0](self.first(x))))


_SEEN: list[int] = []
_FUNCTION: list[Callable[[Tensor], Tensor]] = []
_WRAP: list[Callable[[Tensor], Any]] = []
"""Outside the model, where no pass is seen to change anything."""


@pytest.fixture(autouse=True)
def _begun() -> None:
    _SEEN.clear()
    _FUNCTION[:], _WRAP[:] = [torch.tanh], [lambda output: output]


def zero_rows(h: Tensor) -> Tensor:
    """Norms of rows that are zero, of whose second derivative torch makes NaN."""
    return torch.tanh(h) + torch.linalg.vector_norm(h * 0, dim=1, keepdim=True)


def modes(criterion: ig.InputGradientLoss, model: nn.Module, x: Tensor = X, y: Tensor = Y) -> list[int]:
    """Make a step, see that it is that of a criterion which knows nothing yet, and give how many modes each of its runs had."""
    _SEEN.clear()
    found = torch.autograd.grad(criterion(model, x, y), list(model.parameters()))
    seen = list(_SEEN)
    twin = ig.InputGradientLoss(criterion.base, list(criterion.terms), output=criterion.output)
    expected = torch.autograd.grad(twin(model, x, y), list(model.parameters()))
    for a, b in zip(found, expected, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    return seen


def settled(term: Any, model: nn.Module, **settings: Any) -> ig.InputGradientLoss:
    criterion = ig.InputGradientLoss("mse", 0.1 * term, **settings)
    for _ in range(3):
        modes(criterion, model)
    return criterion


@pytest.mark.parametrize("term", TERMS)
def test_a_model_without_an_operation_of_ours_is_not_watched(term: str) -> None:
    model = Net()
    seen = modes(settled(TERMS[term](), model), model)
    assert set(seen) == set(UNWATCHED)


@pytest.mark.parametrize("term", TERMS)
def test_another_way_through_its_python_is_seen_by_its_graph(term: str) -> None:
    model = Net()
    criterion = settled(TERMS[term](), model)
    _FUNCTION[0] = zero_rows
    seen = modes(criterion, model)
    assert {*UNWATCHED, *WATCHED} == set(seen)  # run once more
    assert modes(criterion, model) == WATCHED * len(modes(criterion, model))  # for good
    _FUNCTION[0] = torch.tanh
    assert set(modes(criterion, model)) == set(WATCHED)


def test_ways_that_alternate_without_an_operation_of_ours_are_both_known() -> None:
    model = Net()
    criterion = settled(ig.GradientNorm(power=2), model)
    _FUNCTION[0] = torch.sin
    assert modes(criterion, model) == [*UNWATCHED, *WATCHED]
    assert modes(criterion, model) == UNWATCHED
    _FUNCTION[0] = torch.tanh
    assert modes(criterion, model) == UNWATCHED


@pytest.mark.parametrize("function", [zero_rows, nn.functional.normalize, nn.functional.mish])
def test_a_model_with_an_operation_of_ours_is_watched(function: Any) -> None:
    model = Net()
    _FUNCTION[0] = function
    assert modes(settled(ig.GradientNorm(power=2), model), model) == WATCHED


def test_powers_by_a_number_are_torchs() -> None:
    model = Net()
    _FUNCTION[0] = lambda h: h**2 + h.pow(3) + torch.pow(h, 2) + torch.float_power(h, 2)
    assert modes(settled(ig.GradientNorm(power=2), model), model) == UNWATCHED


def test_a_variable_exponent_is_seen_after_one_that_is_a_number() -> None:
    model = Net()
    _FUNCTION[0] = lambda h: (h * 0) ** 2
    criterion = settled(ig.GradientNorm(power=2), model)
    _FUNCTION[0] = lambda h: h + (h * 0) ** (h.abs() + 2)  # 0 to a variable: torch makes NaN of its second derivative
    assert modes(criterion, model) == [*UNWATCHED, *WATCHED]


@pytest.mark.parametrize("wrap", [lambda y: (y, y * 2), lambda y: {"logits": y, "more": y * 2}], ids=["tuple", "dict"])
def test_each_of_several_outputs_is_looked_at(wrap: Any) -> None:
    model, key = Net(), 0 if isinstance(wrap(torch.ones(1)), tuple) else "logits"
    _WRAP[0] = wrap
    criterion = settled(ig.GradientNorm(power=2), model, output=key)
    assert modes(criterion, model) == UNWATCHED


class Holder:
    """An output that nobody can look into."""

    def __init__(self, output: Tensor) -> None:
        self.hidden = [output]


def test_an_output_of_an_unknown_kind_leaves_the_model_watched() -> None:
    model = Net()
    _WRAP[0] = Holder
    assert modes(settled(ig.GradientNorm(power=2), model, output=lambda held: held.hidden[0]), model) == WATCHED


@pytest.mark.filterwarnings("ignore:module 'part'")  # that it couples the samples
@pytest.mark.parametrize("part", [nn.Dropout(0.5), nn.BatchNorm1d(8, dtype=torch.float64)], ids=["draws", "a buffer"])
def test_a_model_whose_passes_leave_traces_is_watched(part: nn.Module) -> None:
    """It could not be run once more."""
    model = Net()
    model.part = part
    _FUNCTION[0] = lambda h: torch.tanh(part(h))
    criterion = ig.InputGradientLoss("mse", 0.1 * ig.GradientNorm(power=2))
    for _ in range(4):
        _SEEN.clear()
        criterion(model, X, Y)
    assert _SEEN == WATCHED


def test_what_was_too_small_for_a_derivative_of_ours_is_watched_again_when_it_grows() -> None:
    model = Net()
    _FUNCTION[0] = nn.functional.relu
    criterion = settled(ig.GradientNorm(power=2), model)
    assert modes(criterion, model) == UNWATCHED
    many = X.repeat(1000, 1)  # 80,000 numbers in the hidden layer
    assert modes(criterion, model, many, Y.repeat(1000, 1)) == WATCHED
    assert modes(criterion, model) == WATCHED


def by_a_function_of_its_own(h: Tensor) -> Tensor:
    """Of a class that is made in each pass, so that no pass has the kinds of another."""

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, cotangent: Tensor) -> Tensor:
            return cotangent * ctx.saved_tensors[0].cos()

    found: Tensor = Sine.apply(h)
    return found


def test_after_some_surprises_each_pass_is_watched() -> None:
    model = Net()
    criterion = settled(ig.GradientNorm(power=2), model)
    _FUNCTION[0] = by_a_function_of_its_own
    seen = [modes(criterion, model) for _ in range(6)]
    assert seen[0] == [*UNWATCHED, *WATCHED]
    assert seen[-2:] == [WATCHED, WATCHED]
