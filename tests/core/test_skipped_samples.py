"""A weight of 0 skips the sample, whatever its label; a weight that is no finite number is an error."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.traced import traced

pytestmark = pytest.mark.usefixtures("unverified")  # tests/verification has the check of the first step

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
Y, SLOPE = X.sin().sum(1, keepdim=True), X.cos()
W = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.5])


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def spoiled(labels: Tensor, value: float) -> Tensor:
    return torch.where((W == 0)[:, None], value, labels)


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum(1)


BASES: dict[str, Any] = {"mse": nn.MSELoss(), "sum": nn.MSELoss(reduction="sum"), "huber": nn.HuberLoss(), "own": squared, "l1": "l1"}


@ig.term
def of_ones_own(batch: ig.Batch) -> Tensor:
    return (batch.gradient() - batch.target["slope"]).square().sum(1)


def weighed(base: Any) -> Any:
    return ig.OnTarget("y", base).sample_weight("w")


CRITERIA: dict[str, Any] = {
    **{f"base {name}": (lambda base=base: ig.InputGradientLoss(weighed(base))) for name, base in BASES.items()},
    "base twice": lambda: ig.InputGradientLoss(weighed("mse").sample_weight("w")),
    "of the loss": lambda: weighed("mse") + 0.1 * ig.GradientNorm(of="loss", power=2),
    "sum of bases": lambda: ig.InputGradientLoss(weighed("mse")) + ig.InputGradientLoss(weighed("l1")),
    "match": lambda: ig.InputGradientLoss(None, ig.GradientMatch("slope").sample_weight("w")),
    "match by a callable": lambda: ig.InputGradientLoss(None, ig.GradientMatch(lambda batch: batch.target["slope"]).sample_weight(lambda b: b.target["w"])),
    "direction": lambda: ig.InputGradientLoss(None, ig.DirectionMatch("slope").sample_weight("w")),
    "own term": lambda: ig.InputGradientLoss(None, of_ones_own.sample_weight("w")),
    "adversarial": lambda: weighed("mse") + ig.Adversarial(ig.FGSM(0.1)).sample_weight("w"),
    "both": lambda: weighed("mse") + 0.3 * ig.GradientMatch("slope").sample_weight("w").sample_weight("w"),
}


def gradients(criterion: Any, target: Any) -> list[Tensor]:
    network = model()
    loss = criterion(network, X, target)
    return [loss.detach(), *torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("engine", ["auto", "finite_difference"])
def test_a_weight_of_0_skips_the_label(name: str, value: float, engine: str) -> None:
    criterion = CRITERIA[name]()
    criterion.engine = engine
    clean = gradients(criterion, {"y": Y, "slope": SLOPE, "w": W})
    for found, wanted in zip(gradients(criterion, {"y": spoiled(Y, value), "slope": spoiled(SLOPE, value), "w": W}), clean, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_labels_that_a_term_holds() -> None:
    found, wanted = (
        gradients(ig.InputGradientLoss(None, ig.GradientMatch(labels).sample_weight("w")), {"w": W}) for labels in (spoiled(SLOPE, float("inf")), SLOPE)
    )
    torch.testing.assert_close(found, wanted)


def test_compiled() -> None:
    criterion = CRITERIA["both"]()
    criterion.engine = traced("compiled")
    found, wanted = (gradients(criterion, {"y": spoil(Y), "slope": spoil(SLOPE), "w": W}) for spoil in (lambda z: spoiled(z, float("nan")), lambda z: z))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_missing_label_that_counts_is_not_hidden() -> None:
    assert weighed("mse")(model()(X), {"y": spoiled(Y, float("nan")), "w": torch.ones(5)}).isnan()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["base mse", "match", "own term", "of the loss"])
def test_weights_that_are_no_numbers_are_an_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"sample_weight.*: 1 of 5 weights are NaN or infinite: give finite numbers, 0 for a sample"):
        gradients(CRITERIA[name](), {"y": Y, "slope": SLOPE, "w": torch.tensor([1.0, value, 2.0, 0.0, 0.5])})


def test_negative_weights_stay() -> None:
    found = gradients(CRITERIA["match"](), {"slope": SLOPE, "w": -W})
    torch.testing.assert_close(found, [-part for part in gradients(CRITERIA["match"](), {"slope": SLOPE, "w": W})])
