"""Transfer of robustness by input gradients (IGAM), against the authors' code."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from inputgrad.recipes import robustness_transfer
from tests import zoo
from tests.catalogue.harness import Entry, cases, check

SMOOTH = ("smooth", "relu")


def network(outputs: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(zoo.FEATURES, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


TEACHER, DISCRIMINATOR = network(zoo.OUTPUTS, 1), network(1, 2)


def gradient_of_label_probability(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    chosen = model(x).softmax(1)[torch.arange(len(x)), y]
    return torch.autograd.grad(chosen.sum(), x, create_graph=True)[0]


def discriminator_cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The authors' ``disc_model.mean_xent``: label 0 for the model's gradients and 1 for the teacher's, mean over both."""
    logits = torch.cat([DISCRIMINATOR(gradient_of_label_probability(network, x, y)) for network in (model, TEACHER)])
    return F.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor([0.0] * len(x) + [1.0] * len(x)).double())


def as_published(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """−β · mean_xent + γ · (the sum over the batch of squared differences), for a batch of 32 in their script; less what is constant in the model."""
    constant = F.softplus(-DISCRIMINATOR(gradient_of_label_probability(TEACHER, x, y)))[:, 0].mean() / 2
    gap = gradient_of_label_probability(model, x, y) - gradient_of_label_probability(TEACHER, x, y)
    return -2 * (discriminator_cross_entropy(model, x, y) - constant) + 10 * 32 * gap.square().sum() / len(x)


ENTRIES = (
    Entry(
        "igam",
        lambda: robustness_transfer.igam(teacher=TEACHER, discriminator=DISCRIMINATOR),
        as_published,
        models=SMOOTH,
        base="cross_entropy",
    ),
    Entry(
        "GradientDiscriminator",
        lambda: ig.GradientDiscriminator(DISCRIMINATOR, of="output"),
        lambda m, x, y: -F.softplus(DISCRIMINATOR(jacobian_sum(m, x))).mean(),
        models=SMOOTH,
    ),
)


def jacobian_sum(model: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: Any) -> None:
    check(entry, model, engine)


def step() -> tuple[nn.Module, Tensor, Tensor]:
    model = zoo.mlp(nn.Tanh).double()
    torch.manual_seed(3)
    return model, torch.randn(6, zoo.FEATURES).double(), torch.arange(6) % zoo.OUTPUTS


def test_the_discriminators_loss_trains_the_discriminator_alone() -> None:
    model, x, y = step()
    for net in (TEACHER, DISCRIMINATOR):  # the comparisons above leave gradients there
        net.zero_grad()
    loss = ig.GradientDiscriminator(DISCRIMINATOR).loss(model, TEACHER, x, y)
    torch.testing.assert_close(loss, discriminator_cross_entropy(model, x, y))
    loss.backward()
    wanted = torch.autograd.grad(discriminator_cross_entropy(model, x, y), list(DISCRIMINATOR.parameters()))
    torch.testing.assert_close([p.grad for p in DISCRIMINATOR.parameters()], list(wanted))
    assert all(p.grad is None for net in (model, TEACHER) for p in net.parameters())
    for net in (TEACHER, DISCRIMINATOR):  # the comparisons above leave gradients there
        net.zero_grad()


@pytest.mark.parametrize("engine", ["double_backward", Compiled(backend="eager")], ids=["double_backward", "compiled"])
def test_the_model_learns_against_the_discriminator_as_it_is_now(engine: Any) -> None:
    """The discriminator gets no gradient, and its later weights are read by the next step."""
    model, x, y = step()
    discriminator = network(1, 5)
    criterion = ig.InputGradientLoss(None, ig.GradientDiscriminator(discriminator), engine=engine)
    for _ in range(2):
        model.zero_grad()
        criterion.backward(model, x, y)
        wanted = -F.softplus(discriminator(gradient_of_label_probability(model, x, y))).mean()
        gradients = torch.autograd.grad(wanted, list(model.parameters()), allow_unused=True)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            torch.testing.assert_close(
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad, gradient if gradient is not None else torch.zeros_like(parameter)
            )
        assert all(p.grad is None for p in discriminator.parameters())
        with torch.no_grad():
            for parameter in discriminator.parameters():
                parameter.mul_(-0.5)


@pytest.mark.parametrize(("discriminator", "told"), [(lambda g: g, "must be a module"), (nn.Linear(zoo.FEATURES, 2).double(), "one logit per sample")])
def test_what_is_no_discriminator(discriminator: Any, told: str) -> None:
    model, x, y = step()
    with pytest.raises((TypeError, ValueError), match=told):
        ig.InputGradientLoss(None, ig.GradientDiscriminator(discriminator))(model, x, y)
