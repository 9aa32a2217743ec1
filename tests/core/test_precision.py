"""Half and single precision against float64: values stay finite, gradients near, and every engine keeps its promise in float32."""

import copy
import warnings

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad.engines.finite_difference import FiniteDifference
from tests.cases import ROWS, Case
from tests.textbook import distance, parameter_gradients
from tests.zoo import BY_NAME, OUTPUTS

SINGLE = {
    "double_backward": ("double_backward", 2e-5),
    "reverse_over_forward": ("reverse_over_forward", 2e-5),
    "central": (FiniteDifference("central"), 1e-3),
    "one_sided": (FiniteDifference("one_sided"), 1e-2),
}
"""Engine -> error of the term's own parameter gradient allowed in float32."""
MODELS = ("mlp", "mlp_relu", "critic_leaky_relu", "cnn_max_pool", "cnn_group_norm", "batch_norm_eval", "attention", "recurrent")


@pytest.mark.parametrize("engine", SINGLE)
@pytest.mark.parametrize("name", MODELS)
def test_a_terms_own_gradient_in_single_precision(name: str, engine: str) -> None:
    specimen = BY_NAME[name]
    case = Case(specimen, (ROWS["norm_squared"],))
    model, inputs = specimen.make().float(), specimen.data(case.size).float()
    torch.manual_seed(4)
    chosen, tolerance = SINGLE[engine]
    criterion = ig.InputGradientLoss(None, 0.7 * ig.GradientNorm(power=2), engine=chosen, output=specimen.pick)
    found = parameter_gradients(model, criterion(model, inputs))
    double = {key: None if part is None else part.double() for key, part in found.items()}
    assert distance(double, case.expected().terms) <= tolerance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "term", [ig.GradientNorm(power=2), ig.GradientNorm(p=1), ig.DirectionMatch(torch.arange(1.0, 6.0)), ig.Adversarial(ig.FGSM(0.1))], ids=str
)
def test_half_precision_is_near_and_finite(term: ig.Term, dtype: torch.dtype) -> None:
    model, x, y = BY_NAME["mlp"].make(), BY_NAME["mlp"].data(7), torch.randn(7, OUTPUTS, dtype=torch.float64)
    half = copy.deepcopy(model).to(dtype)
    criterion = nn.MSELoss() + term
    loss = criterion(half, x.to(dtype), y.to(dtype))
    expected = criterion(model, x, y)
    found = {name: None if part is None else part.double() for name, part in parameter_gradients(half, loss).items()}
    assert loss.item() == pytest.approx(expected.item(), rel=0.03)
    assert distance(found, parameter_gradients(model, expected)) <= 0.05


def test_a_squared_norm_that_half_precision_could_not_hold() -> None:
    """Squares of 300 overflow float16; the term widens before it squares."""
    model = nn.Linear(4, 1).half()
    with torch.no_grad():
        model.weight.fill_(300)
    loss = ig.InputGradientLoss(None, ig.GradientNorm())(model, torch.zeros(2, 4).half())
    assert loss.item() == pytest.approx(600, rel=1e-3)


def test_autocast_gives_nearly_the_same() -> None:
    model, x, y = BY_NAME["mlp"].make().float(), BY_NAME["mlp"].data(7).float(), torch.randn(7, OUTPUTS)
    criterion = nn.MSELoss() + ig.GradientNorm()
    plain = copy.deepcopy(model)
    expected = parameter_gradients(plain, criterion(plain, x, y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = criterion(model, x, y)
    assert distance(parameter_gradients(model, loss), expected) <= 0.05


def test_automatic_choice_says_what_it_took() -> None:
    """A function that is differentiable once: the warning names it, and the gradient is right all the same."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):  # type: ignore[no-untyped-def]
            return 2 * ctx.saved_tensors[0] * gradient

    class Model(nn.Module):
        def __init__(self, square) -> None:  # type: ignore[no-untyped-def]
            super().__init__()
            self.first, self.last, self.square = nn.Linear(5, 6), nn.Linear(6, OUTPUTS), square

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.square(self.first(x)))

    torch.manual_seed(0)
    once = Model(Square.apply).double()
    plain = Model(torch.square).double()
    plain.load_state_dict(once.state_dict())
    x, y = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, OUTPUTS, dtype=torch.float64)
    criterion = nn.MSELoss() + ig.GradientNorm()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = parameter_gradients(once, criterion(once, x, y))
        criterion(once, x, y)
    said = [str(warning.message) for warning in caught if "engine='auto' takes 'finite_difference'" in str(warning.message)]
    assert len(said) == 1
    assert "once_differentiable" in said[0]
    assert distance(found, parameter_gradients(plain, criterion(plain, x, y))) <= 1e-6
