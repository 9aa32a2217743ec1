"""Base losses: the value is exactly torch's own, and each sample's own loss is what torch gives for that sample alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import base_losses
from tests.textbook import distance, parameter_gradients

N, C, FEATURES = 6, 4, 5
REDUCTIONS = ("mean", "sum", "none")
WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.7], dtype=torch.float64)
IGNORED = 2


def numbers(n: int = N) -> Tensor:
    return torch.randn(n, C, dtype=torch.float64)


def labels(n: int = N) -> Tensor:
    return torch.tensor([0, 1, 2, 3, 2, 1])[:n]


def spatial_labels() -> Tensor:
    drawn = torch.randint(0, C, (N, 7))
    drawn[0, :3] = IGNORED
    return drawn


def probabilities() -> Tensor:
    return torch.rand(N, C, dtype=torch.float64).softmax(1)


def bits() -> Tensor:
    return (torch.rand(N, C) > 0.5).to(torch.float64)


ELEMENTWISE: dict[str, tuple[Callable[..., Any], Callable[[], Tensor]]] = {
    "mse": (nn.MSELoss, numbers),
    "l1": (nn.L1Loss, numbers),
    "smooth_l1": (partial(nn.SmoothL1Loss, beta=0.3), numbers),
    "huber": (partial(nn.HuberLoss, delta=0.4), numbers),
    "bce_with_logits": (partial(nn.BCEWithLogitsLoss, pos_weight=WEIGHTS), bits),
    "soft_margin": (nn.SoftMarginLoss, lambda: bits() * 2 - 1),
    "poisson_nll": (nn.PoissonNLLLoss, probabilities),
    "probabilities": (nn.CrossEntropyLoss, probabilities),
    "probabilities_weighted": (partial(nn.CrossEntropyLoss, weight=WEIGHTS, label_smoothing=0.1), probabilities),
}
CLASSES: dict[str, tuple[Callable[..., Any], Callable[[], Tensor]]] = {
    "cross_entropy": (nn.CrossEntropyLoss, labels),
    "weighted": (partial(nn.CrossEntropyLoss, weight=WEIGHTS), labels),
    "ignoring": (partial(nn.CrossEntropyLoss, ignore_index=IGNORED), labels),
    "smoothed": (partial(nn.CrossEntropyLoss, label_smoothing=0.2), labels),
    "all_of_it": (partial(nn.CrossEntropyLoss, weight=WEIGHTS, ignore_index=IGNORED, label_smoothing=0.1), labels),
    "nll": (partial(nn.NLLLoss, weight=WEIGHTS), labels),
}
LOSSES = {**ELEMENTWISE, **CLASSES}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_value_is_torchs_own(name: str, reduction: str) -> None:
    make, target = LOSSES[name]
    loss, output, target = make(reduction=reduction), numbers(), target()
    assert torch.equal(base_losses.value(loss, output, target), loss(output, target).mean())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_samples_loss_is_that_of_the_sample_alone(name: str, reduction: str) -> None:
    """By a loop over single samples: their unreduced elements' mean, or their sum where the loss sums. Class weights stay in; ignored ones count nothing."""
    make, target = LOSSES[name]
    loss, alone, output, target = make(reduction=reduction), make(reduction="none"), numbers(), target()
    elements = [alone(output[n : n + 1], target[n : n + 1]) for n in range(N)]
    expected = torch.stack([part.sum() if reduction == "sum" else part.mean() for part in elements])
    torch.testing.assert_close(base_losses.per_sample(loss, output, target), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_spatial_targets_count_only_the_elements_that_count(reduction: str) -> None:
    loss = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction=reduction)
    output, target = torch.randn(N, C, 7, dtype=torch.float64), spatial_labels()
    torch.testing.assert_close(base_losses.value(loss, output, target), loss(output, target).mean(), rtol=0, atol=0)
    alone = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="sum" if reduction == "sum" else "mean")
    expected = torch.stack([alone(output[n : n + 1], target[n : n + 1]) for n in range(N)])
    torch.testing.assert_close(base_losses.per_sample(loss, output, target), expected, rtol=1e-14, atol=0)


def test_a_sample_of_ignored_elements_alone_has_loss_zero() -> None:
    output, target = torch.randn(2, C, 3, dtype=torch.float64), torch.tensor([[IGNORED] * 3, [0, 1, 3]])
    found = base_losses.per_sample(nn.CrossEntropyLoss(ignore_index=IGNORED), output, target)
    assert found[0] == 0
    assert found[1] > 0


FUNCTIONALS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[[], Tensor]]] = {
    "mse_loss": (F.mse_loss, F.mse_loss, numbers),
    "cross_entropy": (F.cross_entropy, F.cross_entropy, labels),
    "sum": (partial(F.l1_loss, reduction="sum"), F.l1_loss, numbers),
    "weighted": (partial(F.cross_entropy, weight=WEIGHTS, label_smoothing=0.1), partial(F.cross_entropy, weight=WEIGHTS, label_smoothing=0.1), labels),
}


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_functionals_and_partials_are_bases_too(name: str) -> None:
    base, plain, target = FUNCTIONALS[name]
    output, target = numbers(), target()
    assert torch.equal(base_losses.value(base, output, target), base(output, target))
    elements = [plain(output[n : n + 1], target[n : n + 1], reduction="none") for n in range(N)]
    expected = torch.stack([part.sum() if name == "sum" else part.mean() for part in elements])
    torch.testing.assert_close(base_losses.per_sample(base, output, target), expected, rtol=1e-14, atol=0)


def test_a_functional_ignores_labels_as_its_class_does() -> None:
    output, target = torch.randn(N, C, 7, dtype=torch.float64), spatial_labels()
    expected = base_losses.per_sample(nn.CrossEntropyLoss(ignore_index=IGNORED), output, target)
    torch.testing.assert_close(base_losses.per_sample(partial(F.cross_entropy, ignore_index=IGNORED), output, target), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", sorted(base_losses.NAMED))
def test_every_name_stands_for_torchs_class(name: str) -> None:
    assert type(ig.InputGradientLoss(name).base) is base_losses.NAMED[name]


def test_a_callable_of_one_loss_a_sample_is_averaged() -> None:
    output, target = numbers(), numbers()

    def rows(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().amax(1)

    assert torch.equal(base_losses.value(rows, output, target), rows(output, target).mean())
    assert torch.equal(base_losses.per_sample(rows, output, target), rows(output, target))


def test_a_callable_that_only_gives_a_scalar_is_told_what_to_return() -> None:
    model, x = nn.Linear(FEATURES, C), torch.randn(N, FEATURES)

    def scalar(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).pow(2).mean()

    assert (scalar + ig.GradientNorm())(model, x, torch.zeros(N, C)).isfinite()  # of the output it is good enough
    with pytest.raises(ValueError, match=r"scalar returned shape \[\], and each sample's own loss is needed .*: return one loss per sample, \[N\] = \[6\]"):
        (scalar + ig.GradientNorm(of="loss"))(model, x, torch.zeros(N, C))


def test_the_users_loss_object_is_left_as_it_is() -> None:
    loss, output, target = nn.MSELoss(reduction="sum"), numbers(), numbers()
    base_losses.per_sample(loss, output, target)
    assert loss.reduction == "sum"


def test_a_base_with_parameters_of_its_own_learns() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return self.scale * (output - target).pow(2).mean(1)

    base, model = Learned(), nn.Linear(FEATURES, C).double()
    x, y = torch.randn(N, FEATURES, dtype=torch.float64), numbers()
    criterion = base + ig.GradientNorm(of="loss", power=2)
    found = parameter_gradients(nn.ModuleList([model, base]), criterion(model, x, y))
    found = {name: part.clone() for name, part in found.items() if part is not None}
    nn.ModuleList([model, base]).zero_grad()
    opened = x.clone().requires_grad_()
    losses = base(model(opened), y)
    (g,) = torch.autograd.grad(losses.sum(), opened, create_graph=True)
    expected = parameter_gradients(nn.ModuleList([model, base]), losses.mean() + g.square().sum(1).mean())
    assert distance(found, expected) <= 1e-12
