"""Answers on paper: linear models, whose input gradient is their weight, and quadratic ones; and `gradcheck` of the loss in the parameters."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

import inputgrad as ig
from tests.zoo import BY_NAME


class Linear(nn.Module):
    """f(x) = W x + b, C outputs; ∂(Σ_c f_c)/∂x = Σ_c W_c."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(weight.new_zeros(weight.shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Quadratic(nn.Module):
    """f(x) = ½ xᵀ A x, one output; ∂f/∂x = ½ (A + Aᵀ) x."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * ((x @ self.matrix) * x).sum(1, keepdim=True)


def tensor(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(("p", "expected"), [(1, 7.0), (2, 5.0), (3, 91 ** (1 / 3)), (math.inf, 4.0)])
@pytest.mark.parametrize("power", [1, 2])
def test_norm_of_a_linear_model(p: float, expected: float, power: float) -> None:
    model = Linear(torch.tensor([[1.0, -4.0], [2.0, 0.0]], dtype=torch.float64))  # g = (3, -4)
    loss = ig.InputGradientLoss(None, ig.GradientNorm(p=p, power=power))(model, tensor(5, 2))
    assert loss.item() == pytest.approx(expected**power, rel=1e-14)


def test_gradient_of_the_norm_of_a_linear_model() -> None:
    """d‖w‖/dW is w/‖w‖ in every row of W, and nothing for the bias."""
    model = Linear(torch.tensor([[1.0, -4.0], [2.0, 0.0]], dtype=torch.float64))
    ig.InputGradientLoss(None, ig.GradientNorm())(model, tensor(5, 2)).backward()
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6, -0.8], [0.6, -0.8]], dtype=torch.float64), rtol=1e-14, atol=0)
    assert model.bias.grad is None or not model.bias.grad.any()


def test_norm_of_a_quadratic_model() -> None:
    """R = ‖S x‖² with S = ½ (A + Aᵀ); dR/dA = S x xᵀ + x xᵀ S, averaged over the batch."""
    model, x = Quadratic(tensor(4, 4)), tensor(6, 4)
    s = ((model.matrix + model.matrix.T) / 2).detach()
    loss = ig.InputGradientLoss(None, ig.GradientNorm(power=2))(model, x)
    loss.backward()
    outer = torch.einsum("ni,nj->nij", x, x)
    torch.testing.assert_close(loss.detach(), (x @ s).square().sum(1).mean(), rtol=1e-13, atol=0)
    torch.testing.assert_close(model.matrix.grad, (s @ outer + outer @ s).mean(0), rtol=1e-13, atol=1e-14)


def test_direction_of_a_linear_model() -> None:
    model = Linear(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    criterion = ig.InputGradientLoss(None, ig.DirectionMatch(torch.tensor([1.0, 0.0])))
    assert criterion(model, tensor(2, 2)).item() == pytest.approx(1 - 0.6, rel=1e-14)
    against = ig.InputGradientLoss(None, ig.DirectionMatch(torch.tensor([-3.0, -4.0])))
    assert against(model, tensor(2, 2)).item() == pytest.approx(2, rel=1e-14)


def test_fgsm_against_a_linear_model() -> None:
    """At f(x) = wᵀx with target y the worst point of the ε-box has |f − y| + ε ‖w‖₁."""
    w, x, y, epsilon = tensor(1, 3), tensor(8, 3), tensor(8, 1), 0.3
    loss = ig.InputGradientLoss("l1", ig.Adversarial(ig.FGSM(epsilon))).evaluate(Linear(w), x, y)
    expected = ((x @ w.T - y).abs() + epsilon * w.abs().sum()).mean()
    torch.testing.assert_close(loss.parts["adversarial"], expected, rtol=1e-13, atol=0)


def test_the_jacobian_by_each_output_and_by_random_projections() -> None:
    """E‖∂⟨u, f⟩/∂x‖² = ‖J‖²_F / C for unit u: the estimate of many projections comes near the exact norm."""
    model, x = Linear(tensor(3, 5)), tensor(4000, 5)
    frobenius = model.weight.square().sum().item()
    exact = ig.InputGradientLoss(None, ig.GradientNorm(power=2, of=ig.heads.EachOutput()))(model, x[:2])
    estimate = ig.InputGradientLoss(None, ig.GradientNorm(power=2, of=ig.heads.RandomProjection(1)))(model, x)
    assert exact.item() == pytest.approx(frobenius, rel=1e-13)
    assert 3 * estimate.item() == pytest.approx(frobenius, rel=0.05)


@pytest.mark.parametrize(
    "term",
    [
        ig.GradientNorm(),
        ig.GradientNorm(p=3, power=2, center=0.5, of="loss"),
        ig.DirectionMatch(torch.arange(1.0, 6.0), of="label"),
        ig.GradientNorm(power=2, of=ig.heads.EachOutput()),
        ig.GradientNorm(power=2) + 0.3 * ig.DirectionMatch(torch.arange(1.0, 6.0)),
    ],
    ids=str,
)
@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward"])
def test_gradcheck_in_the_parameters(engine: str, term: ig.Term) -> None:
    """The value is a function of the parameters whose numerical derivative is what backward gives."""
    model = BY_NAME["mlp"].make()
    x, y = tensor(3, 5), torch.tensor([0, 2, 1])
    criterion = ig.InputGradientLoss("cross_entropy", term, engine=engine)
    names = [name for name, _ in model.named_parameters()]

    class Substituted(nn.Module):
        """The model at given parameters."""

        def __init__(self, parameters: tuple[Tensor, ...]) -> None:
            super().__init__()
            self.given = dict(zip(names, parameters, strict=True))

        def parameters(self, recurse: bool = True) -> list[Tensor]:
            return list(self.given.values())

        def forward(self, x: Tensor) -> Tensor:
            return functional_call(model, self.given, (x,))

    leaves = tuple(p.detach().clone().requires_grad_() for p in model.parameters())
    assert gradcheck(lambda *parameters: criterion(Substituted(parameters), x, y), leaves, fast_mode=True)


shapes = st.lists(st.integers(1, 4), min_size=0, max_size=3)


@given(n=st.integers(1, 5), shape=shapes, outputs=st.integers(1, 4), weight=st.floats(-3, 3))
def test_any_shape_and_weight_of_a_linear_model(n: int, shape: list[int], outputs: int, weight: float) -> None:
    """total = base + w·‖Σ_c W_c‖, whatever the shape of a sample."""
    torch.manual_seed(n)
    size = math.prod(shape)
    model, x, y = Linear(tensor(outputs, size)), tensor(n, *shape) if shape else tensor(n), tensor(n, outputs)
    loss = _loss(model, x, y, weight)
    expected = nn.functional.mse_loss(model(_flat(x)), y) + weight * model.weight.sum(0).norm()
    (found,) = torch.autograd.grad(loss, model.weight)
    (wanted,) = torch.autograd.grad(expected, model.weight)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


class OneNumber(nn.Module):
    """Inputs ``[N]``: a sample is a single number."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(_flat(x))


def _flat(x: Tensor) -> Tensor:
    return x[:, None] if x.dim() == 1 else x


def _loss(model: nn.Module, x: Tensor, y: Tensor, weight: float) -> Tensor:
    return (nn.MSELoss() + weight * ig.GradientNorm())(OneNumber(model), x, y)
