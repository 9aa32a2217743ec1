"""Laws of what a step leaves behind: gradients, modes, buffers, random state, the user's tensors; and what it gives without gradients."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import ENGINES
from tests.textbook import Textbook, adversarial, direction, finite, norm, parameter_gradients, square_errors, sum_of_outputs
from tests.traced import traced
from tests.zoo import BY_NAME, FEATURES, OUTPUTS

DIRECTION = torch.linspace(-1, 1, FEATURES, dtype=torch.float64)
NAMES = sorted(set(ENGINES) - {"auto", "weight_as_step"})  # the latter serves no term of the founding three: tests/differences
pytestmark = [pytest.mark.filterwarnings("ignore:.*couples the samples"), pytest.mark.usefixtures("unverified")]


def founding(engine: str = "double_backward") -> ig.InputGradientLoss:
    terms = 0.5 * ig.GradientNorm(power=2) + 0.3 * ig.DirectionMatch(DIRECTION) + 0.2 * ig.Adversarial(ig.FGSM(0.1))
    return ig.InputGradientLoss("mse", terms, engine=traced(engine))


def data(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(n, FEATURES, dtype=torch.float64), torch.randn(n, OUTPUTS, dtype=torch.float64)


def textbook_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    book = Textbook(model, x, y, (0,), lambda returned: returned)
    terms = (
        0.5 * norm(sum_of_outputs, power=2)(book, (0,))
        + 0.3 * direction(sum_of_outputs, lambda _: DIRECTION)(book, (0,))
        + 0.2 * adversarial(square_errors, square_errors, 0.1)(book, (0,))
    )
    return nn.functional.mse_loss(book.output, y) + terms.mean()


@pytest.mark.filterwarnings("ignore:engine 'compiled' does not support")  # "counting" makes the input require grad; the step then runs eagerly
@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("name", ["batch_norm", "spectral_norm", "counting", "dropout"])
def test_buffers_and_random_state_go_on_as_after_one_plain_pass(name: str, engine: str) -> None:
    if (name, engine) == ("counting", "reverse_over_forward"):
        with pytest.raises(ig.EngineError, match="requires_grad_"):  # functorch forbids the call that this model makes
            founding(engine)(BY_NAME[name].make(), *data())
        return
    model, plain, (x, y) = BY_NAME[name].make(), BY_NAME[name].make(), data()
    torch.manual_seed(8)
    founding(engine)(model, x, y).backward()
    after = torch.rand(3)
    torch.manual_seed(8)
    plain(x.clone())
    assert torch.equal(after, torch.rand(3))
    for key, buffer in plain.named_buffers():
        torch.testing.assert_close(model.get_buffer(key), buffer, rtol=1e-14, atol=1e-15, msg=key)  # compiled kernels may round otherwise, by the processor


@pytest.mark.parametrize("engine", NAMES)
def test_a_step_sets_nothing_on_the_users_tensors_and_modules(engine: str) -> None:
    model, (x, y), criterion = BY_NAME["frozen"].make(), data(), founding(engine)
    given, modes = x.clone(), [module.training for module in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    held = [id(p) for p in model.parameters()]
    loss = criterion(model, x, y)
    assert all(p.grad is None for p in model.parameters())  # nothing before backward
    loss.backward()
    assert torch.equal(x, given)
    assert (x.grad, x.requires_grad, y.grad, y.requires_grad) == (None, False, None, False)
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert [p.grad is not None for p in model.parameters()] == wanted
    assert [id(p) for p in model.parameters()] == held
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_of_the_library_are_gone_after_an_error_too() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(FEATURES, OUTPUTS).double()

        def forward(self, x: Tensor) -> Tensor:
            self.inner(x)
            raise ArithmeticError("the model's own error")

    model = Failing()
    with pytest.raises(ArithmeticError, match="the model's own error"):
        (nn.MSELoss() + ig.GradientNorm(wrt="module:inner"))(model, *data())
    assert not model.inner._forward_hooks


def test_gradients_accumulate_as_usual() -> None:
    model, (x, y) = BY_NAME["mlp"].make(), data()
    founding()(model, x, y).backward()
    once = [p.grad.clone() for p in model.parameters()]
    founding()(model, x, y).backward()
    for p, first in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(p.grad, 2 * first)


@pytest.mark.filterwarnings("ignore:engine 'compiled' does not support")  # inputs that require grad run eagerly
@pytest.mark.parametrize("engine", NAMES)
def test_a_generator_upstream_of_the_inputs_learns(engine: str) -> None:
    generator, model, (z, y) = nn.Linear(FEATURES, FEATURES).double(), BY_NAME["mlp"].make(), data()
    founding(engine)(model, generator(z), y).backward()
    found = [p.grad.clone() for p in generator.parameters()]
    generator.zero_grad()
    textbook_loss(model, generator(z), y).backward()
    tolerance = 1e-6 if engine == "finite_difference" else 1e-10
    for gradient, p in zip(found, generator.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_leaf_of_the_users_own_gets_its_whole_derivative(method: str) -> None:
    model, (x, y) = BY_NAME["mlp"].make(), data()
    leaf, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    if method == "forward":
        founding()(model, leaf, y).backward()
    else:
        founding().backward(model, leaf, y)
    textbook_loss(model, reference, y).backward()
    torch.testing.assert_close(leaf.grad, reference.grad, rtol=1e-10, atol=1e-14)


def test_a_target_with_a_graph_learns() -> None:
    model, (x, y) = BY_NAME["mlp"].make(), data()
    leaf, reference = y.clone().requires_grad_(), y.clone().requires_grad_()
    (nn.MSELoss() + ig.GradientNorm(of="loss", power=2))(model, x, leaf).backward()
    book = Textbook(model, x, reference, (0,), lambda returned: returned)
    (nn.functional.mse_loss(book.output, reference) + norm(square_errors, power=2)(book, (0,)).mean()).backward()
    torch.testing.assert_close(leaf.grad, reference.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ["mlp", "dropout", "batch_norm", "cnn_max_pool"])
def test_without_gradients_the_value_is_the_same_and_carries_no_graph(name: str, off: Any) -> None:
    specimen = BY_NAME[name]
    model, x, y = specimen.make(), specimen.data(5), data(5)[1]
    term = 0.5 * ig.GradientNorm() + 0.2 * ig.Adversarial(ig.FGSM(0.1))
    torch.manual_seed(4)
    expected = ("mse" + term).evaluate(copy.deepcopy(model), x, y)
    torch.manual_seed(4)
    with off():
        found = ("mse" + term).evaluate(model, x.clone(), y.clone())
    assert torch.equal(found.loss, expected.loss.detach())
    assert not found.loss.requires_grad
    assert found.parts.keys() == expected.parts.keys()
    assert all(p.grad is None for p in model.parameters())


def test_losses_carry_no_graph_under_no_grad() -> None:
    with torch.no_grad():
        losses = founding().losses(BY_NAME["mlp"].make(), *data())
    assert not any(loss.requires_grad for loss in losses.values())


def test_a_frozen_model_can_be_measured() -> None:
    model, (x, y) = BY_NAME["mlp"].make().requires_grad_(False), data()
    with torch.no_grad():
        found = founding().evaluate(model, x, y)
    assert found.loss.item() == pytest.approx(founding()(BY_NAME["mlp"].make(), x, y).item(), rel=1e-12)


@pytest.mark.filterwarnings("ignore:the parameter gradient of direction_match is exactly zero")
@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize(
    "term", [ig.GradientNorm(), ig.GradientNorm(p=1), ig.GradientNorm(p=3), ig.DirectionMatch(DIRECTION), ig.Adversarial(ig.FGSM(0.1))], ids=str
)
def test_where_the_gradient_is_zero_nothing_is_nan(term: ig.Term, engine: str) -> None:
    """A constant output: the norm has no derivative there and the cosine no value."""
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, OUTPUTS)).double()
    with torch.no_grad():
        model[0].bias.fill_(-100)
    loss = ig.InputGradientLoss("mse", term, engine=traced(engine))(model, *data())
    gradients = parameter_gradients(model, loss)
    assert loss.isfinite()
    assert finite(gradients)


def test_a_second_derivative_of_the_loss_is_refused() -> None:
    model, (x, y) = BY_NAME["mlp"].make(), data()
    with pytest.raises(ig.EngineError, match=r"once, not twice: backward\(create_graph=True\).*inputgrad.output_and_gradient"):
        founding()(model, x, y).backward(create_graph=True)
    with pytest.raises(ig.EngineError, match="once, not twice"):
        torch.autograd.grad(founding()(model, x, y), list(model.parameters()), create_graph=True)


def test_backward_without_gradients_is_refused() -> None:
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"criterion.backward needs gradients.*use criterion.evaluate"):
        founding().backward(BY_NAME["mlp"].make(), *data())


def test_an_optimiser_brings_the_norm_down() -> None:
    """End to end: an ordinary loop of torch."""
    model, (x, y), criterion = BY_NAME["mlp"].make(), data(), ig.InputGradientLoss(None, ig.GradientNorm())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = criterion.evaluate(model, x, y)
    for _ in range(60):
        optimizer.zero_grad()
        criterion(model, x, y).backward()
        optimizer.step()
    after = criterion.evaluate(model, x, y)
    assert after.parts["gradient_norm"] < 0.7 * before.parts["gradient_norm"]
    assert after.loss < before.loss
