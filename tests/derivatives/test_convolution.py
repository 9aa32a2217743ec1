import pytest
import torch
import torch.nn.functional as F

from inputgrad.derivatives import convolution
from tests.derivatives.against_torch import EXACT, agrees_with_differences, derivatives, difference, normal, second_derivative_off, substituted

X, W = (3, 4, 7, 8), (6, 4, 3, 3)
CASES = {
    "plain": (F.conv2d, X, W, {}),
    "stride": (F.conv2d, X, W, {"stride": 2, "padding": 1}),
    "tuples": (F.conv2d, X, W, {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    "same": (F.conv2d, X, (6, 4, 3, 5), {"padding": "same", "dilation": (2, 1)}),
    "valid": (F.conv2d, X, W, {"padding": "valid", "stride": 2}),
    "one_tuple": (F.conv2d, X, W, {"stride": (2,)}),
    "groups": (F.conv2d, X, (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": (F.conv2d, X, (8, 1, 3, 3), {"groups": 4}),
    "left_over_rows": (F.conv2d, (2, 3, 8, 9), (4, 3, 3, 3), {"stride": 3}),
    "pointwise": (F.conv2d, X, (5, 4, 1, 1), {}),
    "one_dimension": (F.conv1d, (3, 4, 9), (6, 4, 3), {"padding": 2, "dilation": 2}),
    "three_dimensions": (F.conv3d, (2, 3, 4, 5, 4), (4, 3, 2, 3, 2), {"stride": (1, 2, 1), "padding": 1}),
    "transposed": (F.conv_transpose2d, X, (4, 5, 3, 3), {}),
    "transposed_stride": (F.conv_transpose2d, X, (4, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    "transposed_dilation": (F.conv_transpose2d, X, (4, 5, 2, 2), {"dilation": (2, 1)}),
    "transposed_one": (F.conv_transpose1d, (3, 4, 9), (4, 5, 3), {"stride": 2}),
    "transposed_three": (F.conv_transpose3d, (2, 3, 4, 3, 4), (3, 4, 2, 2, 2), {"stride": 2}),
}
BIAS = {"transposed_stride": 6}


def call(name):
    function, x, w, settings = CASES[name]
    bias = BIAS.get(name, w[1] if "transpose" in name else w[0])
    return (lambda *tensors: function(*tensors, **settings)), (normal(*x), normal(*w), normal(bias))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_as_torchs_own(name, bias, declared):
    function, tensors = call(name)
    assert difference(function, tensors if bias else tensors[:2], declared=declared) < EXACT


@pytest.mark.parametrize("name", ["groups", "transposed_dilation"])
def test_as_finite_differences(name):
    function, _ = call(name)
    small = {"groups": ((1, 4, 3, 3), (2, 2, 3, 3)), "transposed_dilation": ((1, 2, 2, 2), (2, 2, 2, 2))}[name]
    assert agrees_with_differences(function, [normal(*shape) for shape in small])


@pytest.mark.parametrize("which", [0, 2])
def test_canary(monkeypatch, which):
    function, tensors = call("stride")
    monkeypatch.setattr(convolution, "CONVOLUTION", second_derivative_off(convolution.CONVOLUTION, which))
    assert difference(function, tensors) > 1e-3


@pytest.mark.parametrize("layout", [lambda x: x.to(memory_format=torch.channels_last), lambda x: x.transpose(2, 3), lambda x: x[:, :, ::2, ::2]])
def test_any_layout(layout):
    assert difference(lambda x, w: F.conv2d(layout(x), w, padding=1), (normal(2, 4, 9, 9), normal(3, 4, 3, 3))) < EXACT


def test_float32():
    function, tensors = call("stride")
    assert difference(function, [tensor.float() for tensor in tensors]) < 1e-4


def test_autocast():
    """Under autocast the arithmetic is that of torch under autocast; its double backward sums the weight's gradient in another order."""

    def function(x, w, b):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.conv2d(x, w, b, padding=1).float()

    tensors = [tensor.float() for tensor in (normal(*X), normal(*W), normal(6))]
    assert derivatives(function, tensors).second[1].dtype == torch.float32
    assert difference(function, tensors) < 0.03


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("function", "tensors"),
    [
        (lambda x, w: F.conv2d(x, w, padding="same"), (normal(1, 2, 5, 5), normal(2, 2, 3, 2))),
        (F.conv2d, (normal(2, 5, 5), normal(2, 2, 3, 3))),
        (lambda x, w: F.conv2d(x.detach(), w), (normal(1, 2, 5, 5), normal(2, 2, 3, 3))),
    ],
    ids=["sides_differ", "one_sample", "constant_input"],
)
def test_left_to_torch(function, tensors):
    assert not substituted(function, *tensors)
