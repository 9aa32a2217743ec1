"""Third derivatives of layer, batch and instance normalisation, however they are called: the parameter gradient of a double derivative, by differences."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import inputgrad as ig
from inputgrad.derivatives import BackwardTarget, SecondDerivatives, differentiable_to_any_order
from tests.derivatives.against_torch import misfit, normal

aten = torch.ops.aten
AGREES = 1e-5
Function = Callable[[Tensor, Tensor, Tensor], Tensor]
SCRIPTED = torch.jit.script(nn.LayerNorm(6).double())


def running() -> tuple[Tensor, Tensor]:
    return torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)


CASES: dict[str, Function] = {
    "layer_norm": lambda x, w, b: F.layer_norm(x, (6,), w, b),
    "layer_norm_without_weight": lambda x, w, b: F.layer_norm(x, (6,)) * w + b,
    "layer_norm_two_dimensions": lambda x, w, b: F.layer_norm(x.view(-1, 2, 3), (2, 3), w.view(2, 3), b.view(2, 3)).flatten(1),
    "layer_norm_all": lambda x, w, b: F.layer_norm(x, x.shape) * w + b,
    "aten_layer_norm": lambda x, w, b: aten.layer_norm(x, [6], w, b),
    "native_layer_norm": lambda x, w, b: aten.native_layer_norm(x, [6], w, b, 1e-5)[0],
    "scripted_layer_norm": lambda x, w, b: SCRIPTED(x) * w + b,
    "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "batch_norm_of_maps": lambda x, w, b: F.batch_norm(x.view(-1, 2, 3), None, None, w[:2], b[:2], True).flatten(1),
    "batch_norm_evaluated": lambda x, w, b: F.batch_norm(x, *running(), w, b, False),
    "native_batch_norm": lambda x, w, b: aten.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5)[0],
    "native_batch_norm_legit": lambda x, w, b: aten._native_batch_norm_legit(x, w, b, *running(), True, 0.1, 1e-5)[0],
    "native_batch_norm_legit_no_stats": lambda x, w, b: aten._native_batch_norm_legit.no_stats(x, w, b, True, 0.1, 1e-5)[0],
    "batch_norm_impl_index": lambda x, w, b: aten._batch_norm_impl_index(x, w, b, None, None, True, 0.1, 1e-5, False)[0],
    "batch_norm_with_update": lambda x, w, b: aten._batch_norm_with_update(x, w, b, *running(), 0.1, 1e-5)[0],
    "batch_norm_no_update": lambda x, w, b: aten._batch_norm_no_update(x, w, b, *running(), 0.1, 1e-5)[0],
    "instance_norm": lambda x, w, b: F.instance_norm(x.view(-1, 2, 3), weight=w[:2], bias=b[:2]).flatten(1),
    "group_norm": lambda x, w, b: F.group_norm(x, 2, w, b),
}
NEVER_WRONG = {"batch_norm_evaluated", "batch_norm_no_update", "group_norm"}


def third_derivative_off(function: Function, *, ours: bool, order: int = 2) -> float:
    x, u, v, w, b = (normal(*shape).mul_(0.5).requires_grad_() for shape in ((8, 6), (6, 6), (6,), (6,), (6,)))

    def value() -> Tensor:
        quantity = function((x @ u).sin(), w, b).sin() @ v
        if ours:
            differentiable_to_any_order([quantity])
        for _ in range(order):
            (quantity,) = torch.autograd.grad((quantity * quantity.cos()).sum(), x, create_graph=True)
        return quantity.square().sum()

    return misfit(value, [u, v, w, b])


@pytest.mark.parametrize("name", CASES)
def test_the_third_derivative(name: str) -> None:
    assert third_derivative_off(CASES[name], ours=True) < AGREES


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm"])
def test_the_fourth_derivative(name: str) -> None:
    assert third_derivative_off(CASES[name], ours=True, order=3) < AGREES


REFUSED = torch.__version__ >= "2.15"
"""Torch 2.15 refuses the third derivative of batch and instance norm; before, it was silently wrong."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in NEVER_WRONG])
def test_torchs_own_is_wrong(name: str) -> None:
    """What this is for: where torch is right at last, our part can go."""
    if REFUSED and "layer_norm" not in name:
        with pytest.raises(RuntimeError, match="does not support 3rd"):
            third_derivative_off(CASES[name], ours=False)
    else:
        assert third_derivative_off(CASES[name], ours=False) > 1e-3


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm"])
def test_first_derivatives_are_torchs_own(name: str) -> None:
    """Without ``create_graph`` nothing changes, to the last digit; with it nothing but rounding."""
    x, w, b = (normal(*shape).requires_grad_() for shape in ((8, 6), (6,), (6,)))
    plain = torch.autograd.grad(CASES[name](x, w, b).sin().sum(), [x, w, b])
    value = CASES[name](x, w, b).sin().sum()
    differentiable_to_any_order([value])
    again = torch.autograd.grad(value, [x, w, b], retain_graph=True)
    assert all(map(torch.equal, plain, again))
    torch.testing.assert_close(torch.autograd.grad(value, [x, w, b], create_graph=True), plain, rtol=1e-12, atol=1e-12)


def test_lower_precision_keeps_its_types() -> None:
    norm = nn.BatchNorm1d(6)
    x = torch.randn(8, 6, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = norm(x)
        differentiable_to_any_order([value])
        found = torch.autograd.grad(value.float().sin().sum(), [x, norm.weight], create_graph=True)
    assert [part.dtype for part in found] == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_our_own_functions_differentiated_a_third_time(monkeypatch: pytest.MonkeyPatch, norm: str) -> None:
    """The Functions of this folder hand a third derivative to what they call torch's own, which must not be torch's here."""
    monkeypatch.setattr("inputgrad.derivatives.twice_differentiable.LEAST", 1)
    function = CASES[f"{norm}_norm"]

    def ours(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        with SecondDerivatives(BackwardTarget()):
            return function(x, w, b)

    assert third_derivative_off(ours, ours=False) < AGREES


class Network(nn.Module):
    """Two inputs, one output, a normalisation in between."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), norm, nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Checkpointed(Network):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layers, x, use_reentrant=False)


class Forces(Network):
    """A model that differentiates itself: one order more for every term."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.layers(x).sum(), x, create_graph=True)[0]


class ForcesByTransform(Network):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.grad(lambda z: self.layers(z).sum())(x)


class Instances(nn.Module):
    """The eight features as two channels of four."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(2, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.view(-1, 2, 4)).flatten(1)


NORMS: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.LayerNorm(8),
    "batch": lambda: nn.BatchNorm1d(8),
    "instance": Instances,
    "scripted": lambda: torch.jit.script(nn.LayerNorm(8)),
}


def heat(u: ig.Field) -> Tensor:
    return u.d("x") * u.value - u.d("yy") - u.d("xx")


def criterion(*terms: object) -> ig.InputGradientLoss:
    return ig.InputGradientLoss(None, list(terms))


VALUES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "Residual": lambda model, x: criterion(ig.Residual(heat, names="xy"))(model, x),
    "ResidualGradient": lambda model, x: criterion(ig.ResidualGradient(heat, names="xy"))(model, x),
    "Residual_elsewhere": lambda model, x: criterion(ig.Residual(heat, names="xy", at=ig.Given(x + 0.1)))(model, x),
    "field": lambda model, x: ig.field(model, x, names="xy").d("xyy").square().sum(),
    "laplacian": lambda model, x: ig.laplacian(model, x).square().sum(),
    "hessian_vector": lambda model, x: ig.hessian_vector(model, x, torch.ones(2).double()).square().sum(),
    "gradient_of_jacobian": lambda model, x: twice(lambda z: ig.jacobian(model, z), x),
    "gradient_of_gradient": lambda model, x: twice(lambda z: ig.gradient(model, z), x),
    "gradient_of_output_and_gradient": lambda model, x: twice(lambda z: ig.output_and_gradient(model, z)[1], x),
}


def twice(operator: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    first = operator(x)
    return torch.autograd.grad((first * first.cos()).sum(), x, create_graph=True)[0].square().sum()


@pytest.mark.filterwarnings("ignore:.*couples the samples", "ignore:.*torch.jit")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("what", VALUES)
def test_operators_and_terms(what: str, norm: str) -> None:
    model, x = Network(NORMS[norm]()).double(), normal(7, 2)
    assert misfit(lambda: VALUES[what](model, x), list(model.parameters())) < AGREES


@pytest.mark.parametrize("kind", [Checkpointed, Forces, ForcesByTransform])
def test_models_that_run_or_differentiate_their_layers_themselves(kind: type[Network]) -> None:
    model, x = kind(nn.LayerNorm(8)).double(), normal(7, 2)
    value = (lambda: VALUES["Residual"](model, x)) if kind is Checkpointed else (lambda: criterion(ig.GradientNorm(of=squares))(model, x))
    assert misfit(value, list(model.parameters())) < AGREES


def squares(output: Tensor, _target: object) -> Tensor:
    return output.sin().sum(1)


@pytest.mark.filterwarnings("ignore:.*couples the samples")
def test_running_statistics_are_updated_once() -> None:
    model, x = Network(nn.BatchNorm1d(8)).double(), normal(7, 2)
    alone = nn.BatchNorm1d(8).double()
    alone(model.layers[:3](x))
    ig.laplacian(model, x).sum().backward()
    norm = model.layers[3]
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close((norm.running_mean, norm.running_var), (alone.running_mean, alone.running_var), rtol=0, atol=0)


def test_canary_no_other_node_of_torchs_keeps_statistics() -> None:
    """Normalisations whose first derivative is a node of its own, with saved statistics that its derivative takes for constants: these, and no others yet."""
    known = {"NativeLayerNorm", "NativeBatchNorm", "BatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}
    own = {name.split("BackwardBackward")[0] for name in dir(torch._C._functions) if "Norm" in name and "BackwardBackward" in name}
    assert own <= known
