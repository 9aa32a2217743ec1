import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inputgrad.derivatives import BackwardTarget, SecondDerivatives, relu
from tests.derivatives.against_torch import EXACT, agrees_with_differences, derivatives, difference, normal, off, substituted

CASES = {
    "relu": F.relu,
    "relu_of_torch": torch.relu,
    "relu_method": lambda x: x.relu(),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "leaky_relu_negative": lambda x: F.leaky_relu(x, negative_slope=-0.3),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 2.0),
    "relu6": F.relu6,
    "threshold": lambda x: F.threshold(x, 0.3, -2.0),
}
IN_PLACE = {
    "relu": lambda x: F.relu(x, inplace=True),
    "relu_": torch.relu_,
    "relu_method": lambda x: x.relu_(),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2, inplace=True),
    "leaky_relu_": lambda x: F.leaky_relu_(x, 0.2),
    "hardtanh": lambda x: F.hardtanh(x, inplace=True),
    "hardtanh_": lambda x: F.hardtanh_(x, -0.5, 0.5),
    "relu6": nn.ReLU6(inplace=True),
    "part_of_a_tensor": lambda x: F.relu(x[:5], inplace=True),
}


@pytest.mark.parametrize("name", CASES)
def test_as_torchs_own(name):
    function = CASES[name]
    assert difference(lambda x, w: function(w * function(x * w)), [3 * normal(20, 7), normal(7)]) < EXACT


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    """The model goes on with the tensor that was changed, whatever it does with the result."""
    change = IN_PLACE[name]

    def function(x, w):
        y = x * w
        change(y)
        return y * y

    assert difference(function, [3 * normal(20, 7), normal(7)]) < EXACT


@pytest.mark.parametrize("function", [F.leaky_relu, F.hardtanh, F.relu6, F.hardsigmoid], ids=lambda f: f.__name__)
def test_its_value_may_be_written_over(function):
    """As with torch's, which keep the input."""

    def model(x, w):
        y = function(x * w)
        y += 1
        return y * y

    assert substituted(model, normal(9), normal(9))
    derivatives(model, [normal(9), normal(9)])


def hardsigmoid(x):
    return (x + 3).clamp(0, 6) / 6


@pytest.mark.parametrize("inplace", [False, True])
def test_hardsigmoid_which_torch_cannot_differentiate_twice(inplace):
    def model(gate):
        return lambda x, w: (x * w) * gate(w * x.sin())

    tensors = [3 * normal(20, 7), 2 * normal(7)]
    with pytest.raises(RuntimeError, match="hardsigmoid_backward"):
        derivatives(model(F.hardsigmoid), tensors, ours=False)
    found = derivatives(model(lambda x: F.hardsigmoid(x, inplace=inplace)), tensors)
    assert off(found, derivatives(model(hardsigmoid), tensors, ours=False)) < EXACT
    assert agrees_with_differences(model(F.hardsigmoid), tensors)


def test_hands_on_nothing():
    """A penalty alone asks for no pass through the values: torch makes one of zeros."""
    layers = nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(0.2), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1)).double()
    x = normal(7, 4).requires_grad_()
    phase = BackwardTarget()
    with SecondDerivatives(phase):
        y = layers(x)
    with phase.input_gradient():
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    found = torch.autograd.grad(g.square().sum(), list(layers.parameters()), allow_unused=True)
    assert [part is None for part in found] == [False, True] * 3
    assert torch.autograd.grad(g.square().sum(), x, allow_unused=True) == (None,)


def test_canary(monkeypatch):
    wrong = relu.Piecewise(torch.relu, torch.relu_, None, lambda gy, y: 1.1 * torch.ops.aten.threshold_backward(gy, y, 0))
    monkeypatch.setattr(relu, "_RELU", wrong)
    assert difference(lambda x, w: F.relu(x * w), [normal(20, 7), normal(7)]) > 1e-3


def test_lower_precision_and_layout():
    for function in CASES.values():
        assert difference(lambda x: function(x.transpose(0, 1)[::2]), [normal(8, 7)]) < EXACT  # noqa: B023
        assert difference(function, [normal(8, 7).bfloat16()]) < 0.05


@pytest.mark.parametrize(
    "function", [lambda x: F.leaky_relu(x + 1, -0.3, inplace=True), lambda x: F.threshold(x + 1, 0.3, 1.0, True), lambda x: F.relu(x.int())]
)
def test_left_to_torch(function):
    assert not substituted(function, normal(5))
