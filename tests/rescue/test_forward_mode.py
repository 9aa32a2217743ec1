"""Functions whose forward-mode derivative torch differentiates wrongly in reverse, or lacks: right all the same, by differences of the criterion's own value.

The list holds what was wrong in torch's own table of operations (2.13). The library lists only those that depend on the values of their arguments; the rest
it finds by a trial.
"""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

import inputgrad as ig
from inputgrad.derivatives import forward_mode
from inputgrad.derivatives.by_backward import by_backward
from inputgrad.passes.forward_mode_check import is_right_in_reverse

aten = torch.ops.aten
EYE = torch.eye(3, dtype=torch.float64)
INDEX = torch.tensor([[0, 0, 1], [2, 1, 1], [0, 2, 2]])


def _definite(a: Tensor) -> Tensor:
    return a @ a.mT + EYE


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "solve": lambda a, b: torch.linalg.solve(a, b),
    "solve from the right": lambda a, b: torch.linalg.solve(a, b, left=False),
    "solve_ex": lambda a, b: torch.linalg.solve_ex(a, b)[0],
    "inv": lambda a, b: torch.linalg.inv(a) @ b,
    "inverse, the method": lambda a, b: a.inverse() @ b,
    "det": lambda a, b: torch.linalg.det(a)[:, None, None] * b,
    "slogdet": lambda a, b: torch.linalg.slogdet(a)[1][:, None, None] * b,
    "logdet": lambda a, b: torch.logdet(_definite(a))[:, None, None] * b,
    "cholesky": lambda a, b: torch.linalg.cholesky(_definite(a)) @ b,
    "cholesky_inverse": lambda a, b: torch.cholesky_inverse(torch.linalg.cholesky(_definite(a))) @ b,
    "cholesky_solve": lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(_definite(a))),
    "eigh": lambda a, b: torch.linalg.eigh(_definite(a))[0][:, None] * b,
    "eigvals": lambda a, b: torch.linalg.eigvals(a @ b).abs().sum(-1)[:, None, None] * b,
    "qr": lambda a, b: torch.linalg.qr(a)[1] @ b,
    "svdvals": lambda a, b: torch.linalg.svdvals(a)[:, None] * b,
    "lu": lambda a, b: torch.linalg.lu(a)[2] @ b,
    "householder_product": lambda a, b: torch.linalg.householder_product(a / 3, b[..., 0]),
    "pinv": lambda a, b: torch.linalg.pinv(a[..., :2]) @ b,
    "matrix_exp": lambda a, b: torch.linalg.matrix_exp(a / 3) @ b,
    "cumprod": lambda a, b: torch.cumprod(a, 1) @ b,
    "cumprod with zeros": lambda a, b: torch.cumprod(b, -1) @ a,
    "cumprod_ with zeros, in place": lambda a, b: (b * a).cumprod_(-1) @ a,
    "prod": lambda a, b: torch.prod(a, 1, keepdim=True) @ b,
    "prod with zeros": lambda a, b: b.prod(-1, keepdim=True) * a,
    "prod with two zeros": lambda a, b: torch.cat([b, b], -1).prod(-1, keepdim=True) + a.prod(-1, keepdim=True) * b,
    "scatter_reduce prod with zeros": lambda a, b: a.scatter_reduce(2, INDEX.expand_as(b), b, "prod"),
    "scatter_reduce amax": lambda a, b: a.scatter_reduce(2, INDEX.expand_as(b), b, "amax"),
    "logaddexp of what is masked": lambda a, b: torch.logaddexp(a.masked_fill(INDEX == 1, -math.inf), b),
    "mish far out": lambda a, b: (F.mish(a + 800) - 800) * b,
    "norm with zeros": lambda a, b: b.norm(dim=1, keepdim=True) * a,
    "cdist": lambda a, b: torch.cdist(a, b),
    "aten.layer_norm": lambda a, b: aten.layer_norm(a @ b, [3]),
    "aten.layer_norm.default": lambda a, b: aten.layer_norm.default(a @ b, [3]),
    "native_layer_norm": lambda a, b: torch.native_layer_norm(a @ b, [3], None, None, 1e-5)[0],
    "aten.batch_norm": lambda a, b: aten.batch_norm(a @ b, None, None, None, None, True, 0.1, 1e-5, False),
    "aten.instance_norm": lambda a, b: aten.instance_norm(a @ b, None, None, None, None, True, 0.1, 1e-5, False),
    "glu": lambda a, b: F.glu(torch.cat([a, a @ b], -1)),
}


class Between(nn.Module):
    """The function between parameters: its arguments and its output depend on them."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first, self.second, self.last = (nn.Parameter(torch.randn(3, 3, dtype=torch.float64)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        a = 2 * EYE + 0.3 * (self.first * x).sin()
        return (self.function(a, self.second * x) @ self.last).sin().flatten(1)


def _value(model: nn.Module, x: Tensor) -> float:
    """What `GradientNorm` with ``power=2`` is of this batch, by plain torch."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x)
    return float(g.square().flatten(1).sum(1).mean())


def _misfit(model: nn.Module, x: Tensor) -> float:
    """The largest difference of the parameter gradient's slope from that of the value, over three directions, relative to the gradient's norm."""
    parameters = list(model.parameters())
    size = math.hypot(*[0.0 if p.grad is None else float(p.grad.norm()) for p in parameters])
    assert size > 1e-6
    worst = 0.0
    for _ in range(3):
        directions = [torch.randn_like(p) for p in parameters]
        slope = sum(0.0 if p.grad is None else float((p.grad * u).sum()) for p, u in zip(parameters, directions, strict=True))
        values = []
        for h in (1e-5, -2e-5):
            with torch.no_grad():
                torch._foreach_add_(parameters, directions, alpha=h)
            values.append(_value(model, x))
        with torch.no_grad():
            torch._foreach_add_(parameters, directions, alpha=1e-5)
        worst = max(worst, abs((values[0] - values[1]) / 2e-5 - slope) / size)
    return worst


def _step(model: nn.Module, x: Tensor, engine: str = "reverse_over_forward") -> None:
    model.zero_grad()
    ig.InputGradientLoss(None, [ig.GradientNorm(power=2)], engine=engine)(model, x).backward()


@pytest.mark.filterwarnings("ignore:.*couples the samples:UserWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    torch.manual_seed(1)
    model, x = Between(FUNCTIONS[name]), torch.randn(4, 3, 3, dtype=torch.float64)
    if "zero" in name:
        x[..., 1] = 0
    for _ in range(2):
        _step(model, x)
        assert _misfit(model, x) < 1e-5


MENDED_IN_TORCH = ["solve", "det", "slogdet", "logdet"] if torch.__version__ >= "2.15" else []
WRONG_IN_TORCH = {"solve", "det", "slogdet", "logdet", "cholesky_inverse", "householder_product", "native_layer_norm", "aten.batch_norm", "glu"}


@pytest.mark.parametrize("name", sorted(WRONG_IN_TORCH))
def test_the_trial_finds_what_torch_has_wrong(name: str) -> None:
    """Where torch has mended one, this fails: then it joins the mended ones, and nothing else has to change."""
    a, b = (torch.randn(2, 3, 3, dtype=torch.float64) for _ in range(2))
    assert (name in MENDED_IN_TORCH) == is_right_in_reverse(FUNCTIONS[name], ((2 * EYE + a / 3).requires_grad_(), b.requires_grad_()), {})


RIGHT_IN_TORCH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": torch.matmul,
    "sine": lambda a, _b: a.sin(),
    "softmax": lambda a, b: torch.softmax(a @ b, -1),
    "group norm": lambda a, _b: F.group_norm(a, 3),
    "maximum": torch.maximum,
    "norm": lambda a, _b: torch.linalg.vector_norm(a, dim=-1),
    "random": lambda a, _b: a * torch.rand_like(a),
    "without a second derivative": lambda a, _b: F.hardsigmoid(a),
}


@pytest.mark.parametrize("name", RIGHT_IN_TORCH)
def test_the_trial_passes_what_is_right_and_leaves_no_trace(name: str) -> None:
    a, b = (torch.randn(2, 3, 3, requires_grad=True) for _ in range(2))
    before = torch.get_rng_state()
    assert is_right_in_reverse(RIGHT_IN_TORCH[name], (a, b), {})
    assert torch.equal(torch.get_rng_state(), before)
    assert a.grad is None
    assert b.grad is None


def test_a_function_that_nobody_listed_is_replaced_once_it_was_met() -> None:
    @torch.library.custom_op("inputgrad_tests::cube", mutates_args=())
    def cube(z: Tensor) -> Tensor:
        return z**3

    cube.register_autograd(lambda ctx, w: 3 * ctx.saved_tensors[0] ** 2 * w, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    operator = torch.ops.inputgrad_tests.cube
    torch.manual_seed(1)
    model, x = Between(lambda a, b: operator(a @ b)), torch.randn(4, 3, 3, dtype=torch.float64)
    assert not forward_mode.is_replaced(operator)
    _step(model, x)
    assert _misfit(model, x) < 1e-5
    assert forward_mode.is_replaced(operator)


def _pair(z: Tensor, *, shift: float) -> tuple[Tensor, Tensor, int]:
    ordered, places = (z.sin() + shift * z**2).sort(-1)
    return ordered.cumsum(-1), places, 7


def test_a_derivative_by_backward_passes_of_several_outputs_and_complex_numbers() -> None:
    """Tangent, its reverse derivative, and that one's again, against torch's own of functions that it has right."""
    for function in (lambda z: _pair(z, shift=0.3)[0], lambda z: torch.fft.fft(z).abs().square(), lambda z: (torch.complex(z, z.cos()) ** 2).exp().imag):
        z, v = (torch.randn(2, 4, dtype=torch.float64, requires_grad=grad) for grad in (True, False))

        def ours(z: Tensor, function: Callable[[Tensor], Tensor] = function) -> Tensor:
            return by_backward(function, (z,), {})

        results = []
        for tried in (function, ours):
            value, tangent = torch.func.jvp(tried, (z,), (v,))
            (first,) = torch.autograd.grad(tangent.sin().sum() + value.sum(), z, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), z)
            results.append((value, tangent, first, second))
        for expected, got in zip(*results, strict=True):
            assert torch.allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_outputs_that_carry_no_derivative_are_handed_on() -> None:
    def scores(z: Tensor) -> Tensor:
        ordered, places, number = by_backward(_pair, (z,), {"shift": 0.3})
        return ordered * places * number

    z = torch.randn(2, 4, dtype=torch.float64)
    expected = torch.func.jvp(lambda z: _pair(z, shift=0.3)[0] * _pair(z, shift=0.3)[1] * 7, (z,), (z.cos(),))
    for part, other in zip(torch.func.jvp(scores, (z,), (z.cos(),)), expected, strict=True):
        assert torch.allclose(part, other, rtol=1e-12)


class InForwardMode(nn.Module):
    """A model that takes a derivative by forward mode itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        with forward_ad.dual_level():
            tangent: Tensor = forward_ad.unpack_dual(self.net(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
            return tangent


def test_a_model_that_uses_forward_mode_itself_spoils_no_other_model() -> None:
    """Within its level no trial of a function can be made, and none may count as failed."""
    before = set(forward_mode._BY_BACKWARD)
    x = torch.randn(4, 3)
    with pytest.raises(ig.EngineError, match="Nested forward mode"):
        ig.InputGradientLoss(None, ig.GradientNorm(), engine="reverse_over_forward")(InForwardMode(), x)
    assert before == forward_mode._BY_BACKWARD
    ig.InputGradientLoss(None, ig.GradientNorm(), engine="auto")(InForwardMode(), x).backward()


class Casting(nn.Module):
    """A model that casts a layer in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.first = self.first.to(torch.float32)
        return self.last(self.first(x.float()).to(x.dtype).tanh())


def test_a_layer_that_is_cast_inside_is_refused_where_torch_ends_the_process() -> None:
    with pytest.raises(ig.EngineError, match=r"\.data of a parameter"):
        ig.InputGradientLoss(None, ig.GradientNorm(), engine="reverse_over_forward")(Casting().double(), torch.randn(4, 3).double())


class Dropped(nn.Module):
    """Attention with dropout inside the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 16), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        q = self.first(x).view(-1, 4, 4)
        return self.last(F.scaled_dot_product_attention(q, q.sin(), q.cos(), dropout_p=0.4).mean(1))


def test_a_derivative_by_backward_passes_keeps_the_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where a function without dropout was met before, and replaced."""
    monkeypatch.setattr(forward_mode, "_BY_BACKWARD", {*forward_mode._BY_BACKWARD, F.scaled_dot_product_attention})
    model, x = Dropped().double(), torch.randn(5, 3, dtype=torch.float64)
    gradients, drawn = [], []
    for engine in ("double_backward", "reverse_over_forward"):
        torch.manual_seed(1)
        model.zero_grad()
        ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine=engine)(model, x).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        drawn.append(float(torch.rand(())))
    torch.testing.assert_close(*gradients)
    assert drawn[0] == drawn[1]
