"""Every rule of Taylor arithmetic against nested reverse mode in float64: derivatives to the fourth order, mixed, their parameter and input gradients."""

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import inputgrad as ig
from inputgrad.operators.taylor.jet import RULES
from inputgrad.operators.taylor.layout import Layout
from inputgrad.operators.taylor.model_pass import expanded, unit_directions
from inputgrad.operators.taylor.plan import Plan
from inputgrad.operators.taylor.reference import nested, read
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.outputs import default_output
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.variables import ModelInputs

Function = Callable[[Tensor, Tensor], Tensor]
"""(h, w) -> output, of hidden values ``[N, 4]`` and weights ``[4, 4]``."""

ELEMENTWISE: dict[str, Function] = {
    name: lambda h, w, name=name: (getattr(torch, name, None) or getattr(F, name))(h)
    for name in ["tanh", "sigmoid", "sin", "cos", "tan", "sinh", "cosh", "atan", "asinh", "exp", "exp2", "expm1", "square", "erf", "erfc", "abs", "relu"]
} | {
    name: lambda h, w, name=name: getattr(F, name)(h)
    for name in (
        *("silu", "gelu", "softplus", "logsigmoid", "mish", "softsign", "tanhshrink", "elu", "selu", "celu"),
        *("leaky_relu", "relu6", "hardtanh", "hardswish", "softshrink"),
    )
} | {
    name: lambda h, w, name=name: getattr(torch, name)(h * h + 0.5) for name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal")
} | {
    name: lambda h, w, name=name: getattr(torch, name)(h.tanh() / 2) for name in ("asin", "acos", "atanh")
} | {
    "acosh": lambda h, w: torch.acosh(h * h + 1.5),
    "gelu_tanh": lambda h, w: F.gelu(h, approximate="tanh"),
    "softplus_sharp": lambda h, w: F.softplus(h, beta=3, threshold=1),
    "elu_scaled": lambda h, w: F.elu(h, 0.5),
    "hardshrink": lambda h, w: F.hardshrink(h, 0.2),
    "threshold": lambda h, w: F.threshold(h, 0.1, 0.3),
    "clamp": lambda h, w: h.clamp(-0.5, 0.4) + torch.clamp(h, min=0.1) + h.clamp_max(0.2),
    "powers": lambda h, w: h**2 + h.pow(3) + h**5 + (h * h + 1) ** 1.7 + (h * h + 1) ** -2 + 2**h + h**1,
    "in_place": lambda h, w: F.relu((h * 1).add_(h.sin()).mul_(2), inplace=True).sin(),
}  # fmt: skip

PRODUCTS: dict[str, Function] = {
    "sum": lambda h, w: h + 2 * h.sin() - h.exp() * 3 + 1 - (1 - h) + torch.add(h, h, alpha=2) + torch.sub(h, w[0], alpha=3) + w[1],
    "product": lambda h, w: h.sin() * h.exp() * w[0] * 2,
    "product_broadcast": lambda h, w: h[:, :1] * h * w[:, 0] + h.sum(1, keepdim=True) * w[1],
    "product_of_ranks": lambda h, w: h.unsqueeze(1) * h.unsqueeze(2),
    "quotient": lambda h, w: h.sin() / (h * h + 1) + 1 / (h.exp() + 1) + w[0] / (2 + h.cos()) + h / w[1].exp(),
    "addcmul": lambda h, w: torch.addcmul(h, h.sin(), h.cos(), value=2) + torch.lerp(h, h.exp(), 0.3) + torch.addcdiv(h, h, h.exp()),
    "linear": lambda h, w: F.linear(h, w, w[0]).tanh() + F.linear(h, w),
    "matmul": lambda h, w: (h.tanh() @ w) + torch.matmul(h.unsqueeze(1), w).squeeze(1) + torch.mm(h, w) + torch.addmm(w[0], h, w),
    "matmul_of_two": lambda h, w: torch.bmm(h.tanh().unsqueeze(2), h.sin().unsqueeze(1)),
    "matmul_constant_left": lambda h, w: (w @ h.unsqueeze(2)).squeeze(2) + (w @ h.tanh().unsqueeze(2) @ h.unsqueeze(1)).sum(1),
    "matrix_vector": lambda h, w: (h @ w[0]).unsqueeze(1) + h,
    "hypernetwork": lambda h, w: torch.matmul(h.unsqueeze(1), h.sin().unsqueeze(2) * w).squeeze(1),
    "einsum": lambda h, w: torch.einsum("ni,ij->nj", h, w) + torch.einsum("ni,ij,nj->n", h, w, h.sin()).unsqueeze(1),
    "bilinear": lambda h, w: F.bilinear(h, h.sin(), torch.stack([w, w.sin()]), w[0, :2]),
    "conv1d": lambda h, w: F.conv1d(h.tanh().unsqueeze(1), w[:2, None, :3], w[0, :2], padding=1).flatten(1),
    "conv2d": lambda h, w: F.conv2d(h.tanh().view(-1, 1, 2, 2), w[:2, None, :2].reshape(2, 1, 1, 2).expand(2, 1, 2, 2), padding=1),
    "conv_transpose": lambda h, w: F.conv_transpose1d(h.tanh().unsqueeze(1), w[None, :2, :3], stride=2),
    "gate": lambda h, w: h.sigmoid() * h.tanh() + (1 - h.sigmoid()) * F.glu(torch.cat([h, h @ w], 1)),
    "cross": lambda h, w: torch.linalg.cross(h[:, :3], h[:, 1:].sin()),
    "outer": lambda h, w: torch.einsum("ni,nj->nij", h, h.exp()),
}

SHAPES: dict[str, Function] = {
    "cat": lambda h, w: torch.cat([h.sin(), h[:, :2], w[:, :1].T.expand(len(h), 4)], 1),
    "cat_samples": lambda h, w: torch.cat([h, h.sin()], 0)[: len(h)],
    "stack": lambda h, w: torch.stack([h.sin(), h], 1) + torch.stack([h, h.exp()], -1).mT,
    "index": lambda h, w: h.sin()[:, 1:3] * h[..., [0]] + h[:, [2, 1]] + h[:, torch.tensor([0, 3])] + h[:, None, 2] + h.index_select(1, torch.tensor([1, 2])),
    "index_samples": lambda h, w: h.sin()[torch.arange(len(h))],
    "mask": lambda h, w: h.tanh()[:, torch.tensor([True, False, True, True])],
    "reshape": lambda h, w: h.sin().view(-1, 2, 2).transpose(1, 2).reshape(len(h), -1) + h.unsqueeze(1).squeeze(1) + h.unflatten(1, (2, 2)).flatten(1),
    "permute": lambda h, w: h.sin().view(-1, 2, 2).permute(0, 2, 1).movedim(1, 2).mT.swapaxes(1, 2),
    "split": lambda h, w: h.sin().chunk(2, 1)[0] * h.split(2, dim=1)[1] + h.unbind(1)[0].unsqueeze(1) + h.narrow(1, 1, 2) + h.select(1, 2)[:, None],
    "expand": lambda h, w: h.unsqueeze(1).expand(-1, 3, -1).sin() * h.unsqueeze(2)[:, :3],
    "sums": lambda h, w: h.sin().sum(1, keepdim=True) + h.mean(-1).unsqueeze(1) + h.view(-1, 2, 2).sum((1, 2))[:, None] + h.cumsum(1) + h.flip(1),
    "by_vmap": lambda h, w: h.sin().repeat(1, 2)[:, 2:6] + h.roll(1, 1) + h.gather(1, torch.tensor([[0, 2, 1, 3]]).expand(len(h), 4)) + F.pad(h, (1, 0))[:, :4],
    "where": lambda h, w: torch.where(h > 0, h.sin(), h**2) + torch.where(h > w[0], 1.0, h) + h.masked_fill(h > 0.3, 0.0),
    "type": lambda h, w: h.sin().to(torch.float64) + h.clone().contiguous(),
    "triangle": lambda h, w: (h.unsqueeze(1) * w).sin().tril().diagonal(dim1=1, dim2=2) + h,
    "pooled": lambda h, w: F.avg_pool1d(h.sin().unsqueeze(1), 2).flatten(1),
    "interpolated": lambda h, w: F.interpolate(h.sin().unsqueeze(1), scale_factor=2, mode="linear").flatten(1),
}

REDUCTIONS: dict[str, Function] = {
    "norm": lambda h, w: (
        h.norm(dim=1, keepdim=True) + torch.linalg.norm(h, dim=1)[:, None] + torch.linalg.vector_norm(h, dim=1)[:, None] + h.norm(p=1, dim=1)[:, None]
    ),
    "normalize": lambda h, w: F.normalize(h.exp() + w[0], dim=1),
    "variance": lambda h, w: (
        h.var(1, keepdim=True) + h.sin().std(1)[:, None] + h.var(dim=1, unbiased=False)[:, None] + torch.var(h, dim=1, correction=0)[:, None]
    ),
    "cosine": lambda h, w: F.cosine_similarity(h, h.sin() + w[0], dim=1)[:, None],
    "cdist": lambda h, w: torch.cdist(h.unsqueeze(1), w.expand(len(h), 4, 4)).squeeze(1),
    "extremes": lambda h, w: h.sin().amax(1, keepdim=True) + h.max(1).values[:, None] * h.min(dim=1, keepdim=True)[0] + torch.maximum(h, h.sin() + 0.1),
    "sorted": lambda h, w: h.sin().sort(1).values + h.topk(2, 1)[0].sum(1, keepdim=True),
    "max_pool": lambda h, w: F.max_pool1d(h.sin().unsqueeze(1), 2).flatten(1),
    "prod": lambda h, w: h.sin().prod(1, keepdim=True),
    "softmax": lambda h, w: h.sin().softmax(1) + F.softmax(h @ w, dim=-1) + F.softmin(h, dim=1),
    "log_softmax": lambda h, w: F.log_softmax(h.sin(), 1) + h.logsumexp(1, keepdim=True),
    "layer_norm": lambda h, w: F.layer_norm(h, (4,), w[0], w[1]),
    "group_norm": lambda h, w: F.group_norm(torch.cat([h.unsqueeze(2), h.sin().unsqueeze(2)], 2), 2, w[0], w[1]),
    "rms_norm": lambda h, w: F.rms_norm(h, (4,), w[0]),
    "instance_norm": lambda h, w: F.instance_norm(h.view(-1, 2, 2) ** 3),
    "instance_norm by statistics": lambda h, w: F.instance_norm(
        h.view(-1, 2, 2), w[2, :2].detach(), w[3, :2].detach() ** 2 + 1, w[0, :2], w[1, :2], False
    ).sin(),
    "torch.instance_norm": lambda h, w: torch.instance_norm(h.view(-1, 2, 2) ** 3, w[0, :2], w[1, :2], None, None, True, 0.1, 1e-5, False),
    "torch.batch_norm": lambda h, w: torch.batch_norm(h, w[0], w[1], w[2].detach(), w[3].detach() ** 2 + 1, False, 0.1, 1e-5, False).sin(),
    "batch_norm": lambda h, w: F.batch_norm(h, w[2].detach(), w[3].detach() ** 2 + 1, w[0], w[1]).sin(),
    "attention": lambda h, w: F.scaled_dot_product_attention(*[(h.unsqueeze(1) * w[i]).view(-1, 2, 2).unsqueeze(1) for i in range(3)], is_causal=True),
}

TABLE = ELEMENTWISE | PRODUCTS | SHAPES | REDUCTIONS
LAYOUT = Layout(
    ((0,), (1,), (0, 0), (0, 1), (1, 1, 1), (0, 0, 1), (0, 1, 1), (0, 1, 2), (0, 0, 0, 0), (0, 0, 1, 1), (0, 0, 1, 2), (0, 1, 1, 1)),
    (tuple((1.0, (k, k)) for k in range(3)), ((1.0, (0, 0, 0, 0)), (2.0, (0, 0, 2, 2)), (1.0, (2, 2, 2, 2)))),
)


class Model(nn.Module):
    """A function of hidden values that depend on three coordinates; those of the first are used as they are, too."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.hidden = nn.Linear(3, 4)
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.hidden(x), self.weight) + self.function(torch.cat([x, x[:, :1] * 0.9], 1) * 0.7 + 0.03, self.weight)


def ways(model: nn.Module, x: Tensor, layout: Layout) -> tuple[list[list[Tensor]], ForwardPass]:
    """By Taylor arithmetic, and by nesting."""
    plan = Plan(tuple(range(layout.directions)), layout)

    def fresh() -> ForwardPass:
        return ForwardPass(model, ModelInputs.of(x), (0,), default_output, RandomAndBufferState(model), PassOptions(whole=True, any_order=True))

    state = torch.get_rng_state()
    expansion = expanded(fresh(), (0,), layout, unit_directions(plan.coordinates))
    torch.set_rng_state(state)
    here = fresh().primal()
    found, reference = [expansion.value, *read(expansion, plan)], [here.output, *nested(here.output, (here.variables[0],), plan)]
    return [found, further(found, expansion.variables, model), reference, further(reference, (here.variables[0],), model)], fresh()


def further(quantities: list[Tensor], variables: tuple[Tensor, ...], model: nn.Module) -> list[Tensor]:
    """The gradients in parameters and input of a function of each quantity."""
    sources = [*model.parameters(), *variables]
    found = []
    for quantity in quantities:
        total = (quantity * torch.linspace(0.5, 1.5, quantity.numel(), dtype=quantity.dtype).view_as(quantity)).sum() + 0.1 * quantity.square().sum()
        parts = torch.autograd.grad(total, sources, retain_graph=True, allow_unused=True) if total.requires_grad else [None] * len(sources)
        found += [torch.zeros_like(source) if part is None else part for source, part in zip(sources, parts, strict=True)]
    return found


def points(n: int = 3) -> Tensor:
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def compare(model: nn.Module, x: Tensor, layout: Layout = LAYOUT, tolerance: float = 1e-10) -> None:
    (found, gradients, reference, expected), _ = ways(model, x, layout)
    for number, (a, b) in enumerate(zip([*found, *gradients], [*reference, *expected], strict=True)):
        assert a.shape == b.shape
        assert float((a - b).detach().norm()) <= tolerance * (1 + float(b.detach().norm())), number


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", TABLE)
def test_a_rule_equals_nested_reverse_mode(name: str) -> None:
    with sdpa_kernel(SDPBackend.MATH):
        compare(Model(TABLE[name]).double(), points())


def test_hard_sigmoid_which_torch_cannot_differentiate_twice() -> None:
    found = ways(Model(lambda h, w: h).double(), points(), LAYOUT)[0][0]
    assert len(found) == 1 + len(LAYOUT.single) + len(LAYOUT.sums)
    x = points()
    run = [expand(lambda h, w: F.hardsigmoid(3 * h), x), expand(lambda h, w: F.relu6(3 * h + 3) / 6, x)]
    for a, b in zip(*run, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def expand(function: Function, x: Tensor) -> list[Tensor]:
    model = Model(function).double()
    forward = ForwardPass(model, ModelInputs.of(x), (0,), default_output, RandomAndBufferState(model), PassOptions(whole=True, any_order=True))
    return read(expanded(forward, (0,), LAYOUT, unit_directions((0, 1, 2))), Plan((0, 1, 2), LAYOUT))


SECOND = Layout(((0,), (1,), (2,), (0, 0), (0, 1), (1, 2)), (tuple((1.0, (k, k)) for k in range(3)), ((0.5, (0, 0)), (0.5, (2, 2)))))
UNEVEN = Layout(((0, 0), (1, 1)), (((1.0, (0, 0)), (2.0, (1, 1))),))


@pytest.mark.parametrize("layout", [SECOND, UNEVEN], ids=["second", "uneven"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_function_to_the_second_order(name: str, layout: Layout) -> None:
    """Where it is one node with a backward pass of its own."""
    compare(Model(ELEMENTWISE[name]).double(), points(), layout)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "gate", "layer_norm", "attention"])
def test_a_derivative_of_the_results_in_the_input_has_a_parameter_gradient(name: str) -> None:
    """As `ResidualGradient` takes it: the backward pass is differentiated itself."""
    model, x = Model(TABLE[name]).double(), points()
    with sdpa_kernel(SDPBackend.MATH):
        (found, _, reference, _), _ = ways(model, x, SECOND)
    both = []
    for quantities in (found, reference):
        total = sum((quantity**2).sum() for quantity in quantities)
        parameters = list(model.parameters())
        first = [part for part in torch.autograd.grad(total, parameters, create_graph=True, allow_unused=True) if part is not None]
        both.append([part for part in torch.autograd.grad(sum((part**2).sum() for part in first), parameters, allow_unused=True) if part is not None])
    assert len(both[0]) == len(both[1])
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def positional(parameters: Iterable[inspect.Parameter]) -> list[str]:
    return [parameter.name for parameter in parameters if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)]


def orders(function: Any) -> list[list[str]]:
    """The names of a function's positional arguments, in order: of Python functions by their signature, of kernels by their schemas."""
    if inspect.isfunction(inspect.unwrap(function)):
        return [positional(inspect.signature(function).parameters.values())]
    packet = getattr(torch.ops.aten, getattr(function, "__name__", ""), None)
    schemas = [getattr(packet, name)._schema for name in packet.overloads()] if packet is not None else []
    return [[argument.name for argument in schema.arguments if not argument.kwarg_only] for schema in schemas]


def test_rules_take_their_arguments_in_torchs_order() -> None:
    """``torch.batch_norm`` and ``F.batch_norm`` go by one name, and take the statistics in other places."""
    wrong, read = [], 0
    for function, rule in RULES.items():
        mine = positional(list(inspect.signature(rule).parameters.values())[1:])
        for theirs in () if mine == ["x"] or function is Tensor.where else orders(function):  # the rest as it comes; the method starts with its tensor
            common = [name for name in mine if name in theirs and name != "dtype"]  # rules look whether what they are given is a type
            read += bool(common)
            wrong += [(function, mine, theirs)] if any(mine.index(name) != theirs.index(name) for name in common) else []
    assert read > 100
    assert wrong == []


@pytest.mark.parametrize("layer", ["batch", "instance"])
@pytest.mark.parametrize(
    "equation", [lambda u: u.laplacian(), lambda u: u.d("xx") + u.d("yy"), lambda u: u.biharmonic()], ids=["laplacian", "two", "biharmonic"]
)
def test_normalisation_by_running_statistics_is_found_right_in_the_first_step(layer: str, equation: Callable[[ig.Field], Tensor]) -> None:
    """The check of the first step runs the bodies of torch's functions, and so meets the kernels with the arguments in their own order."""
    torch.manual_seed(0)
    norm = {"batch": [nn.BatchNorm1d(6)], "instance": [nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, affine=True, track_running_stats=True), nn.Flatten()]}[
        layer
    ]
    model = nn.Sequential(nn.Linear(2, 6), *norm, nn.Tanh(), nn.Linear(6, 1)).double().eval()
    x = torch.randn(40, 2, dtype=torch.float64)
    criterion = ig.InputGradientLoss(None, ig.Residual(equation, names="xy"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(model, x)
    found = criterion.verify(model, x)["double_backward"]
    assert not isinstance(found, str)
    assert found.status == "verified"
