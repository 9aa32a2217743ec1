"""What all substitutes share: who gets a gradient, what is left to torch, and what tracing sees."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from inputgrad.derivatives import BackwardTarget, SecondDerivatives, convolution
from inputgrad.derivatives.substitution import SUBSTITUTES
from inputgrad.torch_internals import checkpoints
from tests.derivatives.against_torch import EXACT, derivatives, fixed, misfit, normal, off, substituted


def network():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(36, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3),
    ).double()  # fmt: skip


def penalty_gradients(model, x, *, ours, loss=0.3, create_graph=False):
    """Of the squared norm of the input gradient plus a loss, in the parameters and in x."""
    phase = BackwardTarget()
    x = x.clone().requires_grad_()
    parameters = [p for p in model.parameters() if p.requires_grad]
    if ours:
        with SecondDerivatives(phase):
            y = model(x.clone())
    else:
        y = model(x.clone())
    with phase.input_gradient():
        (g,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    return torch.autograd.grad(g.square().sum() + loss * y.square().sum(), [*parameters, x], create_graph=create_graph)


def assert_close(found, expected, tolerance=EXACT):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1, b.abs().max().item()))


@pytest.fixture
def calls(monkeypatch):
    """The weight gradients and input gradients that convolutions are asked for, in order."""
    seen = []
    kept = convolution.Geometry.backward

    def backward(self, gy, x, w, wanted):
        seen.append(tuple(wanted))
        return kept(self, gy, x, w, wanted)

    monkeypatch.setattr(convolution.Geometry, "backward", backward)
    return seen


def test_a_network():
    model, x = network(), normal(3, 2, 8, 8)
    assert_close(penalty_gradients(model, x, ours=True), penalty_gradients(copy.deepcopy(model), x, ours=False))


@pytest.mark.parametrize("declared", [True, False])
def test_the_pass_for_the_input_gradient_makes_no_weight_gradient(calls, declared):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 3))
    phase = BackwardTarget()
    x = torch.randn(2, 2, 6, 6, requires_grad=True)
    with SecondDerivatives(phase):
        y = model(x)
    if declared:
        with phase.input_gradient():
            (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    else:
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert calls == [(True, False, False)] * 2
    calls.clear()
    (g.square().sum() + y.sum()).backward(inputs=list(model.parameters()))
    assert sorted(calls) == [(False, True, False), (False, True, False), (False, True, True), (True, True, True)]  # x itself gets none


@pytest.mark.parametrize("declared", [True, False])
def test_an_engine_that_does_not_say(monkeypatch, calls, declared):
    """The phase says it then; where it does not, every gradient is made, and right."""

    def silent(node):
        raise RuntimeError("not here")

    monkeypatch.setattr(torch._C, "_will_engine_execute_node", silent)
    tensors = [normal(2, 2, 6, 6), normal(3, 2, 3, 3), normal(3)]
    assert off(*(derivatives(F.conv2d, tensors, ours=ours, declared=declared) for ours in (True, False))) < EXACT
    assert ((True, False, False) in calls) == declared


def test_a_frozen_weight_costs_nothing(calls):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 3)).double()
    model[2].requires_grad_(False)
    x = normal(2, 2, 6, 6)
    found = penalty_gradients(model, x, ours=True)
    assert (True, True, True) in calls
    assert (True, False, False) in calls
    assert_close(found, penalty_gradients(model, x, ours=False))


def test_a_weight_that_is_the_variable():
    """Nothing is dropped because it is a leaf where a weight is expected."""
    kernel = normal(3, 2, 3, 3).requires_grad_()
    x = normal(2, 2, 6, 6).requires_grad_()
    for declared in (True, False):
        phase = BackwardTarget()
        with SecondDerivatives(phase):
            y = F.conv2d(x, kernel)
        if declared:
            with phase.input_gradient():
                found = torch.autograd.grad(y.sin().sum(), (x, kernel), create_graph=True)
        else:
            found = torch.autograd.grad(y.sin().sum(), (x, kernel), create_graph=True)
        expected = torch.autograd.grad(F.conv2d(x, kernel).sin().sum(), (x, kernel), create_graph=True)
        assert_close(found, expected)
        assert_close(*(torch.autograd.grad(sum(g.square().sum() for g in gs), (x, kernel)) for gs in (found, expected)))


def test_a_weight_made_of_the_input():
    """A hypernetwork: the input gradient goes through the weights too."""

    def function(x, w, v):
        scale = F.group_norm(F.conv2d(x, w), 1, (x.mean((0, 2, 3)) @ v).tanh())
        return F.layer_norm(F.conv2d(scale, w * x.mean()), (4,), x.mean((0, 1, 2))[:4])

    tensors = [normal(2, 3, 8, 8), normal(3, 3, 3, 3), normal(3, 3)]
    assert substituted(function, *tensors)
    for declared in (True, False):
        assert off(derivatives(function, tensors, declared=declared), derivatives(function, tensors, ours=False)) < EXACT


def test_a_weight_made_of_parameters():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), nn.SiLU(), nn.Conv2d(3, 2, 3)).double()
    x = normal(2, 2, 6, 6)
    assert_close(penalty_gradients(model, x, ours=True), penalty_gradients(model, x, ours=False))


def test_the_same_tensor_twice():
    x = normal(2, 2, 3, 3)
    assert off(*(derivatives(lambda x: F.conv2d(x, x), [x], ours=ours) for ours in (True, False))) < EXACT


def test_create_graph_for_everything():
    """``loss.backward(create_graph=True)``: parameter gradients that are differentiated again."""
    model, x = network().eval(), normal(3, 2, 8, 8)
    parameters = list(model.parameters())
    results = []
    for ours in (True, False):
        with SecondDerivatives(BackwardTarget()) if ours else torch.enable_grad():
            y = model(x.clone().requires_grad_())
        first = torch.autograd.grad(y.square().sum(), parameters, create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in first), parameters))
    assert_close(*results)


def test_third_derivatives():
    """By differences, for torch's own third derivative of LayerNorm is wrong."""
    model, x = network().eval(), normal(3, 2, 8, 8)
    value = lambda: sum(g.square().sum() for g in penalty_gradients(model, x, ours=True, create_graph=True))  # noqa: E731
    assert misfit(value, list(model.parameters())) < 1e-5


def test_in_evaluation_without_a_graph():
    model = network().eval()
    x = normal(3, 2, 8, 8)
    with torch.no_grad():
        with SecondDerivatives(BackwardTarget()):
            y = model(x)
        torch.testing.assert_close(y, model(x))


def test_checkpointed():
    """What runs again in the backward pass runs again with ours in place."""
    first = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.SiLU(), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3), nn.Softplus()).double()
    x = normal(3, 2, 8, 8)
    model = called(first, lambda x: first[3:](checkpoint(first[:3], x, use_reentrant=False)))
    assert_close(penalty_gradients(model, x, ours=True), penalty_gradients(first, x, ours=False))


def test_checkpointed_attention():
    """torch alone raises."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dropout=0.0).double()
    x = normal(2, 5, 6)
    found = penalty_gradients(called(layer, lambda x: checkpoint(layer, x, use_reentrant=False)), x, ours=True)
    assert_close(found, penalty_gradients(layer, x, ours=True))


def called(module, forward):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return forward(x)

    return Wrapped()


def test_a_checkpointed_region_of_unknown_form_is_torchs(monkeypatch):
    monkeypatch.setattr(checkpoints, "_closed_over", lambda _: {})
    monkeypatch.setattr(checkpoints, "_region_on_the_stack", lambda: checkpoints._UNKNOWN)  # before torch 2.8
    seen = []
    monkeypatch.setitem(SUBSTITUTES, F.silu, lambda *_, **__: seen.append(1) or NotImplemented)
    with SecondDerivatives(BackwardTarget()):
        checkpoint(F.silu, normal(3).requires_grad_(), use_reentrant=False)
    assert not seen


def test_reentrant_checkpoints_keep_their_first_derivative():
    model = network().eval()
    x = normal(3, 2, 8, 8).requires_grad_()
    with SecondDerivatives(BackwardTarget()):
        y = checkpoint(model, x, use_reentrant=True)
    y.square().sum().backward()
    assert_close([x.grad], torch.autograd.grad(model(x).square().sum(), x))


def test_functorch_inside_the_model_is_torchs():
    conv = nn.Conv2d(2, 3, 3).double()

    def model(x):
        return torch.func.vmap(lambda one: torch.func.grad(lambda z: F.silu(conv(z[None])).sum())(one))(x)

    x = normal(3, 2, 6, 6)
    with SecondDerivatives(BackwardTarget()):
        found = model(x)
    torch.testing.assert_close(found, model(x))


def test_traced():
    """The whole step below autograd, as the compiled engine takes it; at another batch than it was traced with nothing is baked in but shapes."""
    model, x = network(), normal(3, 2, 8, 8)
    names = [name for name, _ in model.named_parameters()]

    def step(parameters, x):
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in parameters]
            x = x.detach().requires_grad_()
            phase = BackwardTarget()
            with SecondDerivatives(phase):
                y = torch.func.functional_call(model, dict(zip(names, leaves, strict=True)), (x,))
            with phase.input_gradient():
                (g,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
            return torch.autograd.grad(g.square().sum() + y.sum(), leaves)

    parameters = [p.detach() for p in model.parameters()]
    traced = make_fx(step)(parameters, x)
    names_of_operations = {str(node.target) for node in traced.graph.nodes}
    assert "aten.convolution_backward.default" in names_of_operations
    other, elsewhere = [p + 0.1 * fixed(p) for p in parameters], normal(3, 2, 8, 8)
    assert_close(traced(other, elsewhere), step(other, elsewhere))


def test_traced_attention():
    def step(q, k, v):
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (q, k, v)]
            with SecondDerivatives(BackwardTarget()):
                y = F.scaled_dot_product_attention(*leaves, is_causal=True)
            gradient = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
            return torch.autograd.grad(sum(g.square().sum() for g in gradient), leaves)

    tensors = [normal(2, 3, 5, 4) for _ in range(3)]
    traced = make_fx(step)(*tensors)
    others = [normal(2, 3, 5, 4) for _ in range(3)]
    assert_close(traced(*others), step(*others))


def test_small_tensors_are_torchs(monkeypatch):
    monkeypatch.undo()
    assert not substituted(F.silu, normal(8, 8))
    assert substituted(F.silu, normal(400, 400))
