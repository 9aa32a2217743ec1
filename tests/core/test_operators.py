"""`follow_gradient`, `output_and_gradient` and the differential operators: known paths, bounds, the complete graph, and no trace."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

import inputgrad as ig
from inputgrad import operators
from inputgrad.operators import differentiation
from tests import zoo
from tests.textbook import Textbook, distance, parameter_gradients, sum_of_outputs
from tests.zoo import BY_NAME, ZOO, Specimen

SERVED = [specimen for specimen in ZOO if specimen.name not in ("tokens", "fused_attention")]


class Bowl(nn.Module):
    """f(x) = ½‖x‖², whose gradient is x itself."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x.square().sum(1, keepdim=True)


class Plane(nn.Module):
    """f(x) = wᵀx."""

    def __init__(self, *weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def starts(n: int = 3) -> Tensor:
    return torch.randn(n, 2, dtype=torch.float64)


@pytest.mark.parametrize(("move", "sign"), [("ascend", 1), ("descend", -1)])
def test_the_path_in_a_bowl(move: Any, sign: int) -> None:
    """With the gradient as it is each step multiplies x by 1 ± step_size."""
    x = starts()
    path = ig.follow_gradient(Bowl(), x, steps=4, step_size=0.1, move=move, scaling="none")
    assert path.shape == (5, 3, 2)
    assert torch.equal(path[0], x)
    for t in range(5):
        torch.testing.assert_close(path[t], x * (1 + sign * 0.1) ** t, rtol=1e-14, atol=0)


def test_unit_steps_on_a_plane() -> None:
    x = starts()
    path = ig.follow_gradient(Plane(3, -4), x, steps=3, step_size=0.5)
    torch.testing.assert_close(path[3], x + 1.5 * torch.tensor([0.6, -0.8], dtype=torch.float64), rtol=1e-14, atol=1e-14)


def test_signed_steps_within_bounds_on_a_plane() -> None:
    path = ig.follow_gradient(Plane(3, -4), torch.full((1, 2), 0.5, dtype=torch.float64), steps=4, step_size=0.2, scaling="sign", bounds=(0, 1))
    torch.testing.assert_close(path[:, 0, 0], torch.tensor([0.5, 0.7, 0.9, 1.0, 1.0], dtype=torch.float64), rtol=1e-14, atol=0)
    torch.testing.assert_close(path[:, 0, 1], torch.tensor([0.5, 0.3, 0.1, 0.0, 0.0], dtype=torch.float64), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("scaling", ["none", "unit", "sign"])
def test_a_sample_without_gradient_stays(scaling: Any) -> None:
    path = ig.follow_gradient(Bowl(), torch.zeros(2, 2), steps=2, scaling=scaling)
    assert torch.equal(path, torch.zeros(3, 2, 2))


def test_the_score_goes_up_along_the_path() -> None:
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(4)
    labels = torch.tensor([0, 1, 2, 0])
    path = ig.follow_gradient(model, x, of="label", target=labels, steps=6, step_size=0.2)
    scores = torch.stack([model(step).gather(1, labels[:, None])[:, 0] for step in path])
    assert (scores.diff(dim=0) > 0).all()


@pytest.mark.parametrize("name", ["batch_norm", "dropout", "counting", "spectral_norm"])
def test_following_leaves_no_trace(name: str) -> None:
    model, x = BY_NAME[name].make(), BY_NAME[name].data(4)
    given, state = x.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    path = ig.follow_gradient(model, x, steps=3)
    assert not path.requires_grad
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert (torch.equal(x, given), x.requires_grad, x.grad) == (True, False, None)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_can_be_followed_without_gradients(off: Any) -> None:
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(4)
    expected = ig.follow_gradient(model, x, steps=2)
    with off():
        assert torch.equal(ig.follow_gradient(model, x.clone(), steps=2), expected)
        assert torch.equal(ig.output_and_gradient(model, x.clone())[0], model(x))


def test_one_of_several_inputs_moves() -> None:
    model, inputs = BY_NAME["dict"].make(), BY_NAME["dict"].data(4)
    path = ig.follow_gradient(model, inputs, wrt="b", steps=2)
    assert path.shape == (3, *inputs["b"].shape)
    assert torch.equal(path[0], inputs["b"])
    assert not torch.equal(path[1], path[0])


@pytest.mark.parametrize("specimen", SERVED, ids=lambda specimen: specimen.name)
def test_output_and_gradient_carry_their_complete_graph(specimen: Specimen) -> None:
    """A loss of both, differentiated, is the textbook's."""
    inputs = specimen.data(5)
    model, plain = specimen.make(), specimen.make()
    torch.manual_seed(4)
    output, gradient = ig.output_and_gradient(model, inputs, wrt=specimen.wrt)
    parts = gradient if isinstance(specimen.wrt, tuple) else (gradient,)
    found = parameter_gradients(model, output.cos().sum() + sum(part.pow(3).sum() for part in parts))
    torch.manual_seed(4)
    book = Textbook(plain, inputs, None, specimen.plain, specimen.pick)
    expected = parameter_gradients(plain, book.output.cos().sum() + sum(part.pow(3).sum() for part in book.gradient(sum_of_outputs, specimen.plain)))
    torch.testing.assert_close(output, book.output)
    assert distance(found, expected) <= 1e-12


def test_the_jacobian_by_each_output() -> None:
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(4)
    _, jacobian = ig.output_and_gradient(model, x, of=ig.heads.EachOutput())
    expected = torch.stack([torch.autograd.functional.jacobian(lambda row: model(row[None])[0], row) for row in x])
    torch.testing.assert_close(jacobian, expected, rtol=1e-12, atol=1e-14)


def test_a_third_derivative_goes_through() -> None:
    """The graph is complete: what the loss refuses, backward(create_graph=True), works here."""
    model, x = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(2)
    _, gradient = ig.output_and_gradient(model, x)
    first = torch.autograd.grad(gradient.square().sum(), list(model.parameters()), create_graph=True, allow_unused=True)
    sum(part.square().sum() for part in first if part is not None).backward()
    assert model[0].weight.grad.isfinite().all()


# differential operators: against functorch, which takes derivatives in another way


def flow() -> nn.Module:
    """As many outputs as inputs."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 7), nn.SiLU(), nn.Linear(7, 4)).double()


def per_sample(model: nn.Module, of: Any = lambda output: output) -> Any:
    return lambda row: of(model(row[None])[0])


def by_functorch(name: str, model: nn.Module, x: Tensor) -> Tensor:
    if name == "gradient":
        return vmap(grad(per_sample(model, torch.sum)))(x)
    if name == "jacobian":
        return vmap(jacrev(per_sample(model, torch.flatten)))(x)
    if name == "divergence":
        return vmap(jacfwd(per_sample(model)))(x).diagonal(dim1=1, dim2=2).sum(1)
    if name == "laplacian":
        size = x[0].numel()
        return vmap(hessian(per_sample(model)))(x).reshape(len(x), -1, size, size).diagonal(dim1=2, dim2=3).sum(2)
    v = torch.arange(x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
    return vmap(lambda row: jvp(grad(per_sample(model, torch.sum)), (row,), (v,))[1])(x)


OPERATORS: dict[str, Any] = {
    "gradient": operators.gradient,
    "jacobian": operators.jacobian,
    "divergence": operators.divergence,
    "laplacian": operators.laplacian,
    "hessian_vector": lambda model, x: operators.hessian_vector(model, x, torch.arange(x[0].numel(), dtype=x.dtype).reshape(x[0].shape)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_functorchs_and_can_be_differentiated_again(name: str) -> None:
    """Value, parameter gradient, and the derivative once more in the input."""
    model, x = flow(), torch.randn(5, 4, dtype=torch.float64)
    own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = OPERATORS[name](model, own), by_functorch(name, model, other)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    sources = list(model.parameters())
    ours = torch.autograd.grad(found.pow(3).sum(), [own, *sources], allow_unused=True)
    theirs = torch.autograd.grad(expected.pow(3).sum(), [other, *sources], allow_unused=True)
    assert ours[0].abs().max() > 0
    for a, b, z in zip(ours, theirs, [own, *sources], strict=True):
        zero = torch.zeros_like(z)
        torch.testing.assert_close(zero if a is None else a, zero if b is None else b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["gradient", "jacobian", "laplacian", "hessian_vector"])
def test_operators_of_images(name: str) -> None:
    torch.manual_seed(0)
    model, x = zoo.cnn_group_norm().double(), zoo.images(2)
    torch.testing.assert_close(OPERATORS[name](model, x), by_functorch(name, model, x), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["divergence", "laplacian"])
@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_hutchinsons_estimate_is_unbiased(name: str, probe: Any) -> None:
    model, x = flow(), torch.randn(3, 4, dtype=torch.float64)
    exact = getattr(operators, name)(model, x).detach()
    torch.manual_seed(0)
    draws = torch.stack([getattr(operators, name)(model, x, probes=1, probe=probe).detach() for _ in range(300)])
    allowed = 4 * draws.std(0) / 300**0.5
    assert (draws.std(0) > 0).all()
    assert ((draws.mean(0) - exact).abs() <= allowed).all()


def test_random_signs_are_exact_where_the_hessian_is_diagonal() -> None:
    class Quartic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.pow(4).sum(1)

    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(operators.laplacian(Quartic(), x, probes=1), 12 * x.square().sum(1), rtol=1e-12, atol=0)
    assert (operators.laplacian(Quartic(), x, probes=1, probe="gaussian") - 12 * x.square().sum(1)).abs().min() > 1e-3


def test_the_laplacian_has_the_outputs_shape_and_several_inputs_add_up() -> None:
    model, (a, b) = zoo.TwoInputs().double(), zoo.two_of_features(4)
    whole = operators.laplacian(model, (a, b), wrt=(0, 1))
    assert whole.shape == model(a, b).shape
    torch.testing.assert_close(whole, operators.laplacian(model, (a, b), wrt=0) + operators.laplacian(model, (a, b), wrt=1), rtol=1e-12, atol=1e-14)
    first, second = operators.hessian_vector(model, (a, b), (a, b), wrt=(0, 1))
    assert (first.shape, second.shape) == (a.shape, b.shape)


def test_operators_leave_no_trace_and_work_without_gradients() -> None:
    model, x = flow(), torch.randn(3, 4, dtype=torch.float64)
    expected = operators.laplacian(model, x)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(operators.laplacian(model, x.clone()), expected)
    assert (x.requires_grad, x.grad, model[0].weight.grad) == (False, None, None)


def test_an_operator_warns_once_where_samples_are_coupled() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()), torch.randn(5, 4)
    with pytest.warns(UserWarning, match=r"module '1' \(BatchNorm1d\) couples the samples"):
        operators.divergence(model, x)
    operators.divergence(model, x)  # a second warning would be an error
    operators.divergence(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval(), x)


def test_fused_attention_names_the_way_out() -> None:
    torch.manual_seed(0)
    model, x = zoo.FusedAttention().double(), zoo.tokens(3)
    with pytest.raises(ig.EngineError, match=r"sdpa_kernel\(SDPBackend.MATH\)"):
        operators.hessian_vector(model, x, x, of=sum_of_outputs)
    with sdpa_kernel(SDPBackend.MATH):
        expected = vmap(hessian(per_sample(model, torch.sum)))(x).reshape(3, x[0].numel(), -1).diagonal(dim1=1, dim2=2).sum(1)
        torch.testing.assert_close(operators.laplacian(model, x).sum(1), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(operators.laplacian(model, x).sum(1), expected, rtol=1e-10, atol=1e-12)  # Taylor arithmetic writes attention out


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward", "finite_difference"])
def test_operators_in_a_term_take_the_batch(engine: str) -> None:
    """Hyvärinen's score matching, ½‖f‖² + div f: the divergence differentiates the model itself, so every engine gives the same."""
    model, x = flow(), torch.randn(6, 4, dtype=torch.float64)

    @ig.term
    def score_matching(batch: ig.Batch) -> Tensor:
        return 0.5 * batch.output.square().sum(1) + operators.divergence(batch)

    loss = ig.InputGradientLoss(None, score_matching, engine=engine)(model, x)
    found = torch.autograd.grad(loss, list(model.parameters()))
    plain = 0.5 * model(x).square().sum(1) + by_functorch("divergence", model, x)
    for a, b in zip(found, torch.autograd.grad(plain.mean(), list(model.parameters())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


# fields


class Wavy(nn.Module):
    """u = sin(2x) e^{3t} and v = x²t, of columns (x, t)."""

    def forward(self, z: Tensor) -> Tensor:
        x, t = z.unbind(1)
        return torch.stack([torch.sin(2 * x) * torch.exp(3 * t), x**2 * t], 1)


def test_derivatives_by_name() -> None:
    z = torch.rand(5, 2, dtype=torch.float64)
    x, t = z.unbind(1)
    flow_field = operators.field(Wavy(), z, names=("x", "t"), outputs=("u", "v"))
    u, v = flow_field
    assert u is flow_field.part("u") is flow_field.part(0)
    expected = {
        "x": 2 * torch.cos(2 * x) * torch.exp(3 * t),
        "t": 3 * torch.sin(2 * x) * torch.exp(3 * t),
        "xx": -4 * torch.sin(2 * x) * torch.exp(3 * t),
        "xt": 6 * torch.cos(2 * x) * torch.exp(3 * t),
        "xxt": -12 * torch.sin(2 * x) * torch.exp(3 * t),
    }
    for name, value in expected.items():
        torch.testing.assert_close(u.d(name), value, rtol=1e-13, atol=0)
    torch.testing.assert_close(v.d("xxt"), torch.full_like(x, 2.0), rtol=1e-13, atol=0)
    torch.testing.assert_close(v.d("tt"), torch.zeros_like(x), rtol=0, atol=0)
    torch.testing.assert_close(flow_field.d("xt"), torch.stack([expected["xt"], 2 * x], 1), rtol=1e-13, atol=0)
    torch.testing.assert_close(u.laplacian(), 5 * u.value, rtol=1e-13, atol=0)
    torch.testing.assert_close(u.laplacian("x"), expected["xx"], rtol=1e-13, atol=0)
    torch.testing.assert_close(u.gradient(), torch.stack([expected["x"], expected["t"]], 1), rtol=1e-13, atol=0)
    torch.testing.assert_close(u.of(u.value**2, "x"), 2 * u.value * u.d("x"), rtol=1e-13, atol=0)
    assert torch.equal(u.coordinate("t"), t)
    assert flow_field.gradient().shape == (5, 2, 2)


def test_each_derivative_is_computed_once_in_whatever_order_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], differentiation.gradient_from
    monkeypatch.setattr(differentiation, "gradient_from", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    u = operators.field(flow(), torch.rand(5, 4, dtype=torch.float64), names="xyzt").part(0)
    assert u.d("xt") is u.d("tx") is u.d("x", "t") is u.d("t", "x")
    assert len(calls) == 2
    assert [u.d(name) is not None for name in ("x", "y", "t", "xt", "xy", "xx")].count(True) == 6
    assert len(calls) == 2  # all from the two passes that were made
    assert u.d("tt") is u.d("tt")
    assert len(calls) == 3


def test_long_names_and_ambiguous_ones() -> None:
    z = torch.rand(5, 2, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    u = operators.field(model, z, names=("x1", "x2"))
    assert u.d("x1x2") is u.d("x2", "x1")
    odd = operators.field(model, z, names=("a", "aa"))
    assert odd.d("aa") is odd.d("aa")
    torch.testing.assert_close(odd.d("aa"), odd.gradient("aa")[:, 0])
    with pytest.raises(ValueError, match="can be read in several ways"):
        odd.d("aaa")
    with pytest.raises(ValueError, match="'y' is not spelled of the coordinates' names"):
        u.d("y")


def test_inputs_in_a_dict_and_inputs_that_are_no_coordinates() -> None:
    class Conditioned(nn.Module):
        def forward(self, x: Tensor, t: Tensor, kind: Tensor) -> Tensor:
            return (kind * x**2 * t)[:, None]

    x, t, kind = torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    u = operators.field(Conditioned(), {"x": x, "t": t, "kind": kind}, wrt=("x", "t"))
    torch.testing.assert_close(u.d("xt"), 2 * kind * x, rtol=1e-14, atol=0)
    by_position = operators.field(Conditioned(), (x, t, kind), names="xt", wrt=(0, 1))
    assert torch.equal(by_position.d("xt"), u.d("xt"))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda m, x: operators.divergence(nn.Linear(4, 3).double(), x), ValueError, r"the output has shape \[5, 3\], the input \[5, 4\]"),
        (lambda m, x: operators.laplacian(m, x, probes=0), ValueError, "probes must be a whole number"),
        (lambda m, x: operators.divergence(m, x, probes=1, probe="uniform"), ValueError, "Known: 'gaussian', 'rademacher'"),
        (lambda m, x: operators.hessian_vector(m, x, torch.ones(3)), ValueError, r"vector must be of the input's shape \[5, 4\]"),
        (lambda m, x: operators.hessian_vector(m, x, (x, x), wrt=(0,)), ValueError, "one tensor for each of the 1 inputs"),
        (lambda m, x: operators.hessian_vector(m, x, x, of=ig.heads.EachOutput()), ValueError, "needs one score per sample"),
        (lambda m, x: operators.hessian_vector(m, x, x, of="loss"), ValueError, 'of="loss" needs a base loss'),
        (lambda m, x: operators.jacobian(lambda z: z, x), TypeError, "model must be an nn.Module"),
        (lambda m, x: operators.jacobian(m, x.long()), TypeError, "no derivative with respect to integers"),
        (lambda m, x: operators.laplacian(Cut(), x), ValueError, "does not depend on 0"),
        (lambda m, x: operators.field(m, x), ValueError, "names= is missing"),
        (lambda m, x: operators.field(m, x, names="xy"), ValueError, "names must name each of the 4 coordinates"),
        (lambda m, x: operators.field(m, x, names="xyzt", outputs="uv"), ValueError, r"outputs must name each of the model's 4 output"),
        (lambda m, x: operators.field(m, x, names="xyzt", at=ig.Given(x)), TypeError, "at= is a place of a term's batch"),
        (lambda m, x: operators.field(Cut(), x, names="xyzt").d("x"), ValueError, "does not depend on 0"),
        (lambda m, x: operators.field(m, x, names="xyzt").part(4), ValueError, "4 is not an output"),
        (lambda m, x: operators.field(m, x, names="xyzt").of(x, "x"), ValueError, "one number per point"),
    ],
)
def test_bad_input_to_operators(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call(flow(), torch.rand(5, 4, dtype=torch.float64))


class Cut(nn.Module):
    """Detaches its input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = flow()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.detach())
