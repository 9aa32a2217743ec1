"""Laws of the loss as a function: of the order and size of the batch, of the weights, and of the way in which it was put together."""

import copy
import math
import pickle
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import inputgrad as ig
from tests.textbook import Gradients, distance, finite, parameter_gradients
from tests.zoo import BY_NAME, FEATURES, OUTPUTS

DIRECTION = torch.linspace(-1, 1, FEATURES, dtype=torch.float64)
EXACT = 1e-12
SEPARATE = ("mlp", "mlp_relu", "shared", "frozen", "batch_norm_eval")


def data(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, FEATURES, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, OUTPUTS, generator=generator, dtype=torch.float64)


def founding() -> ig.InputGradientLoss:
    return nn.MSELoss() + 0.5 * ig.GradientNorm(of="loss") + 0.3 * ig.DirectionMatch(DIRECTION) + 0.2 * ig.Adversarial(ig.FGSM(0.1))


def step(criterion: Any, name: str = "mlp", x: Tensor | None = None, y: Tensor | None = None) -> tuple[float, Gradients]:
    model = BY_NAME[name].make()
    given, wanted = data()
    torch.manual_seed(4)
    loss = criterion(model, given if x is None else x, wanted if y is None else y)
    return loss.item(), parameter_gradients(model, loss)


def assert_same(a: tuple[float, Gradients], b: tuple[float, Gradients], tolerance: float = EXACT) -> None:
    assert a[0] == pytest.approx(b[0], rel=tolerance)
    assert distance(a[1], b[1]) <= tolerance


# the batch


@pytest.mark.parametrize("name", [*SEPARATE, "batch_norm"])
@pytest.mark.filterwarnings("ignore:.*couples the samples")
def test_permuting_the_batch_changes_nothing(name: str) -> None:
    x, y = data()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_same(step(founding(), name), step(founding(), name, x[order], y[order]))


@pytest.mark.parametrize("name", SEPARATE)
def test_the_loss_of_a_batch_is_the_mean_over_its_halves(name: str) -> None:
    x, y = data()
    whole, first, second = (step(founding(), name, x[part], y[part]) for part in (slice(None), slice(0, 3), slice(3, 6)))
    mean = {key: None if part is None else (part + second[1][key]) / 2 for key, part in first[1].items()}
    assert_same(whole, ((first[0] + second[0]) / 2, mean))


@pytest.mark.usefixtures("unverified")  # what the term saw is collected
def test_a_sample_is_judged_by_itself_whatever_its_neighbours() -> None:
    """Row n of the input gradient is the same in any batch."""
    model, (x, y) = BY_NAME["mlp"].make(), data()
    seen: list[Tensor] = []

    @ig.term
    def watching(batch: ig.Batch) -> Tensor:
        seen.append(batch.gradient(of="loss").detach())
        return batch.output.sum(1)

    for reduction in ("mean", "sum", "none"):
        ig.InputGradientLoss(nn.MSELoss(reduction=reduction), watching)(model, x, y)
    ig.InputGradientLoss(nn.MSELoss(), watching)(model, x[2:3], y[2:3])
    mean, total, none, alone = seen
    torch.testing.assert_close(mean[2:3], alone, rtol=EXACT, atol=0)
    torch.testing.assert_close(none, mean, rtol=EXACT, atol=0)
    torch.testing.assert_close(total, OUTPUTS * mean, rtol=EXACT, atol=0)  # a sample's own sum over its outputs; never over the batch


# the weights


@pytest.mark.usefixtures("unverified")
@given(weight=st.floats(-5, 5), other=st.floats(-5, 5))
def test_linearity_in_the_weight(weight: float, other: float) -> None:
    def terms_only(w: float) -> tuple[float, Gradients]:
        return step(ig.InputGradientLoss(lambda output, _: 0 * output.sum(), w * ig.GradientNorm()))

    a, b, both = terms_only(weight), terms_only(other), terms_only(weight + other)
    assert both[0] == pytest.approx(a[0] + b[0], rel=1e-9, abs=1e-12)
    for name, part in both[1].items():
        expected = sum(part for part in (a[1][name], b[1][name]) if part is not None)
        torch.testing.assert_close(torch.zeros(()) if part is None else part, torch.as_tensor(expected), rtol=1e-9, atol=1e-12, check_dtype=False)


def test_weight_zero_is_as_if_the_term_were_absent() -> None:
    assert_same(step(nn.MSELoss() + 0.0 * ig.GradientNorm()), step(ig.InputGradientLoss("mse")), 0)
    assert_same(step(ig.InputGradientLoss("mse")), _plain(nn.MSELoss()), 0)


def test_weight_zero_keeps_a_broken_term_out_of_the_sum() -> None:
    @ig.term
    def broken(batch: ig.Batch) -> Tensor:
        return batch.gradient().flatten(1).sum(1) * math.inf

    loss, gradients = step(nn.MSELoss() + 0.0 * broken)
    assert math.isfinite(loss)
    assert finite(gradients)


def test_a_weight_may_follow_the_step_number() -> None:
    criterion = nn.MSELoss() + (lambda number: 0.1 * number) * ig.GradientNorm()
    found = [step(criterion) for _ in range(3)]
    for number, result in enumerate(found):
        assert_same(result, step(nn.MSELoss() + 0.1 * number * ig.GradientNorm()))
    assert criterion.step_number == 3


def test_only_training_steps_are_counted() -> None:
    criterion, model, (x, y) = founding(), BY_NAME["mlp"].make(), data()
    with torch.no_grad():
        criterion(model, x, y)
    criterion.eval()(model, x, y)
    assert criterion.step_number == 0
    criterion.train()(model, x, y)
    assert criterion.step_number == 1


def test_the_step_number_survives_a_checkpoint() -> None:
    criterion, resumed = founding(), founding()
    step(criterion)
    step(criterion)
    resumed.load_state_dict(criterion.state_dict())
    assert resumed.step_number == 2


def test_factors_multiply() -> None:
    assert_same(step(nn.MSELoss() + 2 * (0.25 * ig.GradientNorm())), step(nn.MSELoss() + ig.GradientNorm() * 0.5))
    doubled = nn.MSELoss() + 2 * ((lambda number: 0.25 + number) * ig.GradientNorm())
    assert_same(step(doubled), step(nn.MSELoss() + 0.5 * ig.GradientNorm()))


# composition


@pytest.mark.parametrize(
    "criterion",
    [
        nn.MSELoss() + (0.5 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION)),
        "mse" + (0.5 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION)),
        "mse" + 0.5 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION),
        F.mse_loss + 0.5 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION),
        partial(F.mse_loss, reduction="mean") + ig.DirectionMatch(DIRECTION) + ig.GradientNorm() * 0.5,
        ig.InputGradientLoss(nn.MSELoss()) + 0.5 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION),
        ig.InputGradientLoss("mse", [0.5 * ig.GradientNorm(), ig.DirectionMatch(DIRECTION)]),
        ig.InputGradientLoss("mse", 0.5 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION), engine="double_backward"),
        nn.MSELoss() + 0.2 * ig.GradientNorm() + 0.3 * ig.GradientNorm() + ig.DirectionMatch(DIRECTION),
    ],
)
def test_every_way_of_putting_it_together_is_the_same(criterion: ig.InputGradientLoss) -> None:
    assert_same(step(criterion), step(ig.InputGradientLoss(nn.MSELoss(), [0.5 * ig.GradientNorm(), ig.DirectionMatch(DIRECTION)])))


def test_a_sum_keeps_the_engine_and_the_output_of_the_criterion() -> None:
    def pick(returned: Any) -> Tensor:
        return returned

    criterion = ig.InputGradientLoss("mse", engine="reverse_over_forward", output=pick) + ig.GradientNorm()
    assert criterion.engine.name == "reverse_over_forward"
    assert criterion.output is pick


def test_terms_of_the_same_name_are_numbered() -> None:
    evaluated = (nn.MSELoss() + ig.GradientNorm() + ig.GradientNorm(p=1)).evaluate(BY_NAME["mlp"].make(), *data())
    assert list(evaluated.parts) == ["base", "gradient_norm", "gradient_norm_2"]
    assert evaluated.parts["gradient_norm_2"] > evaluated.parts["gradient_norm"]


def test_the_parts_add_up_to_the_loss() -> None:
    evaluated = founding().evaluate(BY_NAME["mlp"].make(), *data())
    weights = {"base": 1, "gradient_norm": 0.5, "direction_match": 0.3, "adversarial": 0.2}
    assert evaluated.loss.item() == pytest.approx(sum(weights[name] * part.item() for name, part in evaluated.parts.items()), rel=EXACT)
    assert not any(part.requires_grad for part in evaluated.parts.values())


def test_losses_carry_their_own_graphs() -> None:
    """Weighted and added up they are the criterion: value and gradient."""
    model, (x, y), weights = BY_NAME["mlp"].make(), data(), (1, 0.5, 0.3, 0.2)
    total = sum(weight * loss for weight, loss in zip(weights, founding().losses(model, x, y).values(), strict=True))
    assert isinstance(total, Tensor)
    assert_same((total.item(), parameter_gradients(model, total)), step(founding()))


def test_each_of_the_losses_has_its_own_gradient() -> None:
    """The norm's alone is what a loss of that term alone gives."""
    model, (x, y) = BY_NAME["mlp"].make(), data()
    loss = (nn.MSELoss() + 0.5 * ig.GradientNorm() + 0.2 * ig.Adversarial(ig.FGSM(0.1))).losses(model, x, y)["gradient_norm"]
    assert_same((loss.item(), parameter_gradients(model, loss)), step(ig.InputGradientLoss(None, ig.GradientNorm())))


def test_backward_is_evaluate_and_backward() -> None:
    model, (x, y) = BY_NAME["mlp"].make(), data()
    found = founding().backward(model, x, y)
    assert not found.loss.requires_grad
    assert_same((found.loss.item(), {name: p.grad for name, p in model.named_parameters()}), step(founding()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda criterion: pickle.loads(pickle.dumps(criterion))])
def test_a_copy_is_the_same_loss(copied: Any) -> None:
    criterion = founding()
    step(criterion)
    assert_same(step(copied(criterion)), step(founding()), 0)
    assert copied(criterion).step_number == 1


def test_a_call_repeated_is_identical() -> None:
    criterion = founding()
    assert_same(step(criterion, "dropout"), step(criterion, "dropout"), 0)


def _plain(base: nn.Module) -> tuple[float, Gradients]:
    model, (x, y) = BY_NAME["mlp"].make(), data()
    loss = base(model(x), y)
    return loss.item(), parameter_gradients(model, loss)
