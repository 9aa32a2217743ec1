"""The weight as the step: the formula it promises, the error it tells, and what it refuses."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import EngineError
from inputgrad.engines import WeightAsStep
from tests.textbook import Gradients, distance, parameter_gradients
from tests.zoo import BY_NAME, FEATURES, IMAGE, OUTPUTS

OWN_LOSS = ig.GradientNorm(of="loss", power=2)


def network(activation: type[nn.Module] = nn.SiLU) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), activation(), nn.Linear(128, 128), activation(), nn.Linear(128, OUTPUTS)).double()


def data(n: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 64, dtype=torch.float64), torch.randint(OUTPUTS, (n,))


def found(engine: str | WeightAsStep, model: nn.Module, x: Tensor, y: Tensor, weight: float, *, by_call: bool = False) -> Gradients:
    criterion, model = ig.InputGradientLoss("cross_entropy", weight * OWN_LOSS, engine=engine), copy.deepcopy(model)
    if by_call:
        return parameter_gradients(model, criterion(model, x, y))
    criterion.backward(model, x, y)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def error(model: nn.Module, x: Tensor, y: Tensor, weight: float) -> float:
    """Relative to the term's own gradient."""
    exact = found("double_backward", model, x, y, weight)
    base = found("double_backward", model, x, y, 0.0)
    own = distance(exact, base) * distance(base, dict.fromkeys(base))
    return distance(found("weight_as_step", model, x, y, weight), exact) * distance(exact, dict.fromkeys(exact)) / own


@pytest.mark.parametrize("by_call", [False, True])
def test_it_is_the_gradient_of_the_loss_at_inputs_that_the_weight_displaces(by_call: bool) -> None:
    model, (x, y), weight = network(), data(), 0.3
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y, reduction="sum"), z)
    twin = copy.deepcopy(model)
    expected = parameter_gradients(twin, nn.functional.cross_entropy(twin(x + 2 * weight * g), y))
    assert distance(found("weight_as_step", model, x, y, weight, by_call=by_call), expected) <= 1e-12


@pytest.mark.parametrize("activation", [nn.SiLU, nn.ReLU])
def test_its_error_is_small_and_grows_as_the_weight_does(activation: type[nn.Module]) -> None:
    model, (x, y) = network(activation), data()
    small, large = error(model, x, y, 0.1), error(model, x, y, 1.0)
    assert large <= 1e-2
    assert 7 <= large / small <= 13


def test_branches_are_those_of_the_pass_at_x() -> None:
    """Flipped units would show as an error that the weight does not tame."""
    model, target = BY_NAME["cnn_max_pool"].make(), torch.randint(OUTPUTS, (5,))
    assert error(model, torch.rand(5, *IMAGE, dtype=torch.float64), target, 1e-3) <= 1e-4


def test_dropout_and_running_statistics_are_those_of_one_pass() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 12), nn.BatchNorm1d(12), nn.Dropout(0.4), nn.Tanh(), nn.Linear(12, OUTPUTS)).double()
    x, y, plain = torch.randn(9, FEATURES, dtype=torch.float64), torch.randint(OUTPUTS, (9,)), copy.deepcopy(model)
    gradients = []
    for engine in ("weight_as_step", "double_backward"):
        trained = copy.deepcopy(model)
        torch.manual_seed(3)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*couples the samples.*")
            ig.InputGradientLoss("cross_entropy", 1e-4 * OWN_LOSS, engine=engine).backward(trained, x, y)
        gradients.append({name: parameter.grad for name, parameter in trained.named_parameters()})
        plain.load_state_dict(model.state_dict())
        plain(x)
        torch.testing.assert_close(trained.get_buffer("1.running_mean"), plain.get_buffer("1.running_mean"))
    assert distance(*gradients) <= 1e-6


def test_the_parts_by_themselves() -> None:
    """`losses` hands out the base loss exactly, and the term less the base loss at x."""
    model, (x, y) = network(), data()
    parts = ig.InputGradientLoss("cross_entropy", OWN_LOSS, engine="weight_as_step").losses(model, x, y)
    exact = ig.InputGradientLoss("cross_entropy", OWN_LOSS).losses(model, x, y)
    for name, tolerance in (("base", 1e-12), ("gradient_norm", 2e-2)):
        gradients = [torch.autograd.grad(part[name], list(model.parameters()), retain_graph=True, allow_unused=True) for part in (parts, exact)]
        assert distance(*[dict(enumerate(part)) for part in gradients]) <= tolerance


def test_where_the_gradient_is_zero_it_is_the_plain_step() -> None:
    model, (x, y) = network(), data()
    with torch.no_grad():
        model[0].weight.zero_()
    weights = found("weight_as_step", model, x, y, 1.0)
    assert distance(weights, found("double_backward", model, x, y, 0.0)) <= 1e-12


@pytest.mark.parametrize(
    ("base", "terms"),
    [
        ("cross_entropy", 0.1 * ig.GradientNorm()),
        ("cross_entropy", 0.1 * ig.GradientNorm(of="label")),
        ("cross_entropy", 0.1 * OWN_LOSS + 0.1 * ig.GradientNorm()),
        ("cross_entropy", (0.1 * OWN_LOSS).scheduled(fraction=0.5)),
        ("cross_entropy", 0.1 * ig.GradientNorm(of="loss", at=ig.Perturbed(ig.FGSM(0.1)))),
        (nn.CrossEntropyLoss(ignore_index=0), 0.1 * ig.GradientNorm(of=lambda output, _: output.sum(1))),
    ],
    ids=["output", "label", "two terms", "a share", "elsewhere", "ignored elements"],
)
def test_it_refuses_where_nothing_cancels(base: object, terms: object) -> None:
    model, (x, y) = network(), data()
    criterion = ig.InputGradientLoss(base, terms, engine="weight_as_step")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"supports one input gradient alone.*Take engine='finite_difference'"):
        criterion.backward(model, x, y)


def test_a_base_loss_without_pull_is_refused() -> None:
    def silent(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        losses = (output - nn.functional.one_hot(target, OUTPUTS)).square().mean(1)
        return losses if reduction == "none" else 0 * losses.mean()

    with pytest.raises(EngineError, match="pulls at the output"):
        ig.InputGradientLoss(silent, OWN_LOSS, engine="weight_as_step").backward(network(), *data())


def test_a_coarse_step_is_told_once() -> None:
    model, (x, y), criterion = network(), data(), ig.InputGradientLoss("cross_entropy", 300 * OWN_LOSS, engine="weight_as_step")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            criterion.backward(model, x, y)
    (told,) = caught
    assert "displaces the inputs by" in str(told.message)
    with pytest.raises(ValueError, match="largest must be a positive fraction"):
        WeightAsStep(largest=0)
