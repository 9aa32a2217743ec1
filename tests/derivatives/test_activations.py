import pytest
import torch
import torch.nn.functional as F

from inputgrad.derivatives import activations
from tests.derivatives.against_torch import EXACT, agrees_with_differences, derivatives, difference, normal, off, second_derivative_off, substituted

CASES = {
    "silu": (F.silu, "SILU"),
    "gelu": (F.gelu, "GELU"),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), "GELU_TANH"),
}


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_as_torchs_own(name, declared):
    assert difference(CASES[name][0], [3 * normal(20, 7)], declared=declared) < EXACT


@pytest.mark.parametrize("name", CASES)
def test_as_finite_differences(name):
    assert agrees_with_differences(CASES[name][0], [2 * normal(9)])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_canary(monkeypatch, name, which):
    function, operation = CASES[name]
    monkeypatch.setattr(activations, operation, second_derivative_off(getattr(activations, operation), which))
    assert difference(function, [3 * normal(20, 7)]) > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_far_out(name):
    """Where exponentials overflow or vanish the derivatives stay finite and right."""
    x = torch.tensor([-1e4, -100.0, -40.0, -10.0, 0.0, 10.0, 40.0, 100.0, 1e4])
    assert difference(CASES[name][0], [x.double()]) < EXACT
    assert difference(CASES[name][0], [x]) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_any_layout_and_lower_precision(name):
    function = CASES[name][0]
    assert difference(lambda x: function(x.transpose(0, 1)[::2]), [normal(8, 7)]) < EXACT
    assert difference(function, [normal(8, 7).float()]) < 1e-5
    assert difference(function, [normal(8, 7).bfloat16()]) < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert difference(function, [normal(8, 7).float()]) < 1e-5


def test_in_place_is_left_to_torch():
    def function(x):
        y = 2 * x
        F.silu(y, inplace=True)  # the model goes on with what was changed
        return y * y

    x = normal(7)
    assert not substituted(function, x)
    assert off(derivatives(function, [x]), derivatives(function, [x], ours=False)) == 0
