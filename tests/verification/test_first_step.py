"""The first step is verified: wrong gradients are found, right ones raise no alarm, and nothing of it remains."""

import copy
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.passes.directions import Directions
from inputgrad.passes.value_differences import compare
from inputgrad.step.verifier import Verification
from tests.verification.detection import verified
from tests.verification.models import MISTAKES, SETTINGS, Wrong, not_a_number, off_by, through_the_model

RIGHT = ["double_backward", "reverse_over_forward", "finite_difference"]


@pytest.fixture(autouse=True)
def verifying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INPUTGRAD_VERIFY", raising=False)
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "pinn"])
def test_an_engine_that_is_wrong_is_found(name: str, mistake: Any, dtype: torch.dtype) -> None:
    found = verified(SETTINGS[name](), Wrong(mistake), dtype)
    assert found.status == "wrong", found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "layer"), [(0.05, None), (1.0, None), (0.3, 0), (1.0, 1)])
def test_a_wrong_second_derivative_in_a_differential_equation_is_found(size: float, layer: int | None, dtype: torch.dtype) -> None:
    """In all layers or in one: a Residual differentiates the model itself, whatever the engine."""
    found = verified(through_the_model(SETTINGS["pinn"](), size, layer), "double_backward", dtype)
    assert found.status == "wrong", found


def weights(name: str) -> list[int]:
    return [number for number, parameter in enumerate(SETTINGS[name]().model.parameters()) if parameter.dim() > 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "number"), [(name, number) for name in SETTINGS if name != "pinn" for number in weights(name)])
def test_a_weight_that_learns_nothing_is_found(name: str, number: int, dtype: torch.dtype) -> None:
    """Whichever it is: its gradient is exactly zero, so it moves alone once more."""

    def mistake(share: Tensor, parameters: list[nn.Parameter]) -> Any:
        yield off_by(parameters[number], share, -1.0)
        yield share

    found = verified(SETTINGS[name](), Wrong(mistake), dtype)
    assert found.status == "wrong", found


def test_a_gradient_that_is_no_number_is_told_where_the_value_is_one() -> None:
    setting = SETTINGS["mlp"]()
    criterion = ig.InputGradientLoss(setting.base, setting.term, engine=Wrong(not_a_number))
    with pytest.raises(ig.EngineError, match="the parameter gradient of the terms is not a number, and their value is"):
        criterion(setting.model, setting.inputs, setting.target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", RIGHT)
@pytest.mark.parametrize("name", SETTINGS)
def test_an_engine_that_is_right_is_verified(name: str, engine: str, dtype: torch.dtype) -> None:
    found = verified(SETTINGS[name](), engine, dtype)
    assert found.status == "verified", found
    assert found.misfit is not None
    assert found.misfit < (1e-3 if dtype == torch.float32 else 1e-7)


class Hidden(torch.autograd.Function):
    """tanh, whose derivative is saved as a number: the second derivative is cut, and nothing raises."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(1 - y * y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * ctx.saved_tensors[0]


class Reversal(torch.autograd.Function):
    """The identity, whose gradient is reversed on purpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


class Through(nn.Module):
    """A function as a module, in the middle of a small network."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.first, self.last = function, nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


def reference(model: Through, x: Tensor) -> Tensor:
    """The gradient of Σ‖g‖²/N with tanh in the function's place, in plain torch."""
    plain = copy.deepcopy(model)
    plain.function = torch.tanh
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(plain(z).sum(), z, create_graph=True)
    return torch.cat([p.flatten() for p in torch.autograd.grad(g.square().sum(1).mean(), list(plain.parameters()), materialize_grads=True, allow_unused=True)])


def flat(model: nn.Module) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])


def test_auto_takes_the_engine_whose_gradient_is_right_and_says_so_once() -> None:
    model, x = Through(Hidden.apply).double(), torch.randn(16, 3, dtype=torch.float64)
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2))
    for step in range(3):
        model.zero_grad()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            criterion(model, x).backward()
        told = [str(warning.message) for warning in caught if warning.category is UserWarning]  # torch warns of its own at its first imports
        assert len(told) == (1 if step == 0 else 0), told
        if step == 0:
            assert "off the change of their value" in told[0]
            assert "'finite_difference'" in told[0]
        assert (flat(model) - reference(model, x)).norm() < 1e-5 * reference(model, x).norm()


def test_a_named_engine_that_is_wrong_raises() -> None:
    model, x = Through(Hidden.apply), torch.randn(16, 3)
    with pytest.raises(ig.EngineError, match=r"engine 'double_backward' gives a wrong gradient for Through: .* off the change of their value"):
        ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine="double_backward")(model, x)


def test_a_model_that_changes_gradients_on_purpose_is_told_once_and_means_double_backward() -> None:
    model, x = Through(lambda h: (h.tanh() + Reversal.apply(h * h)).tanh()), torch.randn(16, 3)
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2))
    with pytest.warns(UserWarning, match="changes gradients on purpose"):
        criterion(model, x).backward()
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
    plain = torch.autograd.grad(g.square().sum(1).mean(), list(model.parameters()), materialize_grads=True, allow_unused=True)
    assert torch.allclose(flat(model), torch.cat([p.flatten() for p in plain]), rtol=1e-4, atol=1e-7)
    with pytest.raises(ig.EngineError, match="on purpose"):
        ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine="finite_difference")(model, x)


def test_a_gradient_that_is_zero_is_told_once() -> None:
    model, x = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), torch.randn(16, 2)

    @ig.term
    def curved(batch: ig.Batch) -> Tensor:
        return (ig.laplacian(batch).squeeze(1) - 1).square()

    criterion = ig.InputGradientLoss(None, curved)
    with pytest.warns(UserWarning, match="the parameter gradient of curved is exactly zero, so it trains nothing"):
        criterion(model, x).backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(model, x).backward()


def test_a_hinge_that_is_satisfied_is_no_zero_gradient() -> None:
    model, x = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(16, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ig.InputGradientLoss(None, ig.GradientNorm(center=100, side="above"))(model, x).backward()


@pytest.mark.parametrize("way", ["the argument", "the variable"])
def test_it_can_be_switched_off(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Through(Hidden.apply), torch.randn(16, 3)
    if way == "the variable":
        monkeypatch.setenv("INPUTGRAD_VERIFY", "0")
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine="double_backward", verify=way != "the argument")
    assert criterion(model, x).isfinite()


def test_nothing_remains() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.SiLU(), nn.Linear(8, 1))
    twin, x, y = copy.deepcopy(model), torch.randn(10, 4), torch.randn(10, 1)
    heard: list[int] = []
    model[0].weight.register_hook(lambda gradient: heard.append(1))
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    versions = [parameter._version for parameter in model.parameters()]
    states = []
    for net, verify in ((model, True), (twin, False)):
        torch.manual_seed(3)
        criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2), verify=verify)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = criterion(net, x, y)
        heard.clear()
        loss.backward()
        states.append((loss.detach(), flat(net), [b.clone() for b in net.buffers()], torch.get_rng_state()))
        assert criterion.step_number == 1
    assert heard == []  # the twin's backward pass: the hook is the model's
    for one, other in zip(*states, strict=True):
        pairs = zip(one, other, strict=True) if isinstance(one, list) else [(one, other)]
        assert all(torch.equal(a, b) for a, b in pairs)
    assert [parameter.data_ptr() for parameter in model.parameters()] == addresses
    assert [parameter._version for parameter in model.parameters()] == versions


def test_once_for_criteria_made_alike() -> None:
    calls = []

    class Counting(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(1)
            return super().forward(x)

    model, x = Counting(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(5, 3)
    counts = []
    for _ in range(3):
        calls.clear()
        (nn.MSELoss() + 0.1 * ig.GradientNorm(power=2))(model, x, torch.randn(5, 1)).backward()
        counts.append(len(calls))
    assert counts[0] > counts[1] == counts[2] == 1


def test_the_table_of_all_engines() -> None:
    model, x = Through(Hidden.apply), torch.randn(16, 3)
    table = ig.InputGradientLoss(None, ig.GradientNorm(power=2)).verify(model, x)
    assert table
    found = table["double_backward"], table["finite_difference"]
    assert [result.status for result in found if isinstance(result, Verification)] == ["wrong", "verified"]
    assert "in float64" in str(table)
    assert not ig.InputGradientLoss(None, ig.GradientNorm(power=2)).explain(model, x)["double_backward"].supported


def test_a_value_that_is_no_number_says_nothing() -> None:
    """Also where one tensor's gradient is zero, and that tensor moves alone."""
    parameters = [torch.ones(3), torch.ones(2)]
    misfit = compare(lambda: math.nan, Directions([torch.ones(3), torch.zeros(2)], parameters, 2), 1e-2)
    assert misfit is not None
    assert math.isinf(misfit.relative)
    assert not misfit.settled
