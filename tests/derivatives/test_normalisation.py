"""Group, instance, layer and batch normalisation: one form of case, so one file of tests."""

import pytest
import torch
import torch.nn.functional as F

from inputgrad.derivatives import batch_norm, group_norm, layer_norm
from tests.derivatives.against_torch import EXACT, agrees_with_differences, difference, normal, second_derivative_off, substituted

CASES = {
    "group": (lambda x, w=None, b=None: F.group_norm(x, 2, w, b), (3, 4, 5, 6), (4,)),
    "group_of_torch": (lambda x, w=None, b=None: torch.group_norm(x, 2, w, b, 1e-5, False), (3, 4, 5, 6), (4,)),
    "group_flat": (lambda x, w=None, b=None: F.group_norm(x, 2, w, b), (3, 8), (8,)),
    "group_one": (lambda x, w=None, b=None: F.group_norm(x, 1, w, b, eps=0.1), (3, 4, 5), (4,)),
    "group_three_dimensions": (lambda x, w=None, b=None: F.group_norm(x, 2, w, b), (2, 4, 3, 2, 3), (4,)),
    "instance": (lambda x, w=None, b=None: F.instance_norm(x, weight=w, bias=b), (3, 4, 5, 6), (4,)),
    "instance_one_dimension": (lambda x, w=None, b=None: F.instance_norm(x, weight=w, bias=b), (3, 4, 5), (4,)),
    "layer": (lambda x, w=None, b=None: F.layer_norm(x, (6,), w, b), (3, 5, 6), (6,)),
    "layer_two_dimensions": (lambda x, w=None, b=None: F.layer_norm(x, (5, 6), w, b, 0.1), (3, 2, 5, 6), (5, 6)),
    "layer_all": (lambda x, w=None, b=None: F.layer_norm(x, x.shape, w, b), (3, 4), (3, 4)),
    "batch": (lambda x, w=None, b=None: F.batch_norm(x, None, None, w, b, True), (3, 4, 5, 6), (4,)),
    "batch_flat": (lambda x, w=None, b=None: F.batch_norm(x, None, None, w, b, True), (7, 4), (4,)),
    "batch_one_dimension": (lambda x, w=None, b=None: F.batch_norm(x, None, None, w, b, True, eps=0.1), (3, 4, 5), (4,)),
}
OPERATIONS = {"group": (group_norm, "GROUP_NORM"), "layer": (layer_norm, "LAYER_NORM"), "batch": (batch_norm, "BATCH_NORM")}


def call(name):
    function, x, w = CASES[name]
    return function, (3 * normal(*x) + 1, normal(*w) + 0.5, normal(*w))


@pytest.mark.parametrize("affine", [3, 2, 1])
@pytest.mark.parametrize("name", CASES)
def test_as_torchs_own(name, affine):
    function, tensors = call(name)
    assert difference(function, tensors[:affine]) < EXACT


@pytest.mark.parametrize("affine", [3, 2, 1])
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("group", "instance"))])
def test_as_it_is_traced(monkeypatch, name, affine):
    function, tensors = call(name)
    monkeypatch.setattr(group_norm, "is_tracing", lambda: True)
    assert difference(function, tensors[:affine]) < EXACT


@pytest.mark.parametrize("name", CASES)
def test_undeclared(name):
    function, tensors = call(name)
    assert difference(function, tensors, declared=False) < EXACT


@pytest.mark.parametrize("name", OPERATIONS)
def test_as_finite_differences(name):
    x = {"group": (2, 4, 3), "layer": (3, 6), "batch": (3, 4, 2)}[name]
    function, tensors = call(name)
    assert agrees_with_differences(function, [normal(*x), tensors[1]])


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_canary(monkeypatch, name, which):
    function, tensors = call(name)
    file, operation = OPERATIONS[name]
    monkeypatch.setattr(file, operation, second_derivative_off(getattr(file, operation), which))
    assert difference(function, tensors) > 1e-3


@pytest.mark.parametrize("layout", [lambda x: x.to(memory_format=torch.channels_last), lambda x: x.transpose(2, 3), lambda x: x[:, :, ::2, ::2]])
@pytest.mark.parametrize("name", ["group", "instance", "batch"])
def test_any_layout(name, layout):
    function = CASES[name][0]
    assert difference(lambda x, w, b: function(layout(x), w, b), (normal(2, 4, 8, 8), normal(4), normal(4))) < EXACT


def test_any_layout_of_rows():
    assert difference(lambda x, w, b: F.layer_norm(x.transpose(1, 2), (5,), w, b), (normal(3, 5, 6), normal(5), normal(5))) < EXACT


@pytest.mark.parametrize("name", OPERATIONS)
def test_float32(name):
    function, tensors = call(name)
    assert difference(function, [tensor.float() for tensor in tensors]) < 1e-4


def test_running_statistics_are_updated_once():
    norms = [torch.nn.BatchNorm2d(4).double() for _ in range(2)]
    x = normal(3, 4, 5, 6)
    own = difference(lambda x, w, b: norms[0](x) * w.sum() + b.sum(), (x, normal(4), normal(4)))
    assert own < EXACT
    for _ in range(3):  # `difference` calls the function three times
        norms[1](x)
    torch.testing.assert_close(norms[0].running_mean, norms[1].running_mean)
    torch.testing.assert_close(norms[0].running_var, norms[1].running_var)
    assert norms[0].num_batches_tracked == 3


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.batch_norm(x, torch.zeros(4).double(), torch.ones(4).double()),
        lambda x: F.instance_norm(x, torch.zeros(4).double(), torch.ones(4).double()),
        lambda x: F.group_norm(x.bfloat16(), 2),
        lambda x: F.layer_norm(x.detach(), (6,)),
    ],
    ids=["batch_evaluated", "instance_running", "bfloat16", "constant_input"],
)
def test_left_to_torch(function):
    assert not substituted(function, normal(3, 4, 5, 6))


@pytest.mark.parametrize("name", OPERATIONS)
def test_left_to_torch_under_autocast(name):
    function, tensors = call(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not substituted(function, *[tensor.float() for tensor in tensors])
