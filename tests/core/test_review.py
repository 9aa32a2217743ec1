"""What a review by strangers found, kept found: each by its text, or against plain torch in float64."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig


class Encoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enc, self.head = nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.enc(x))


def network() -> nn.Module:
    return Encoded().double()


def data(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, generator=generator, dtype=torch.float64), torch.randn(size, 2, generator=generator, dtype=torch.float64)


# places


@pytest.mark.parametrize("at", [ig.Interpolate(torch.zeros(6, 4), wrt="module:enc"), ig.Perturbed(ig.FGSM(0.5, of="output", wrt="module:enc"))])
def test_a_place_does_not_move_the_output_of_an_inner_module(at: ig.Place) -> None:
    x, y = data()
    with pytest.raises(ValueError, match=r"'module:enc' is no input of the model, and a place moves inputs.*use Adversarial"):
        (nn.MSELoss() + ig.GradientNorm(wrt="module:enc", at=at))(network(), x, y)


def test_the_same_input_by_two_names_is_refused() -> None:
    x, y = data()
    with pytest.raises(ValueError, match=r"wrt=\(0, 'x'\) names 0 twice"):
        (nn.MSELoss() + ig.GradientNorm(wrt=(0, "x")))(network(), (x,), y)


@pytest.mark.parametrize("given", [lambda x: x, lambda x: (x,), lambda x: {"x": x}], ids=["tensor", "tuple", "dict"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_term_sees_the_inputs_in_the_form_that_they_were_given_in(given: Any, fraction: float) -> None:
    x, y = data()
    seen = []

    @ig.term
    def watch(batch: ig.Batch) -> Tensor:
        seen.extend([batch.inputs, batch.inputs_with({0: batch.variable() + 1})])
        return batch.gradient().square().sum(1)

    (nn.MSELoss() + watch.scheduled(fraction=fraction))(network(), given(x), y)
    assert [type(inputs) for inputs in seen] == [type(given(x))] * 2


def test_an_inner_module_by_its_second_name() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a

        def forward(self, x: Tensor) -> Tensor:
            return self.b(x).square()

    model, (x, _) = Shared().double(), data()
    found = ig.InputGradientLoss(None, ig.GradientNorm(wrt="module:b", power=2))(model, x)
    torch.testing.assert_close(found.detach(), (2 * model.a(x)).square().sum(1).mean().detach())


# shares of the batch


class Graph(nn.Module):
    """A matrix that all samples share comes first."""

    def forward(self, adj: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(x @ adj)


@pytest.mark.parametrize("target", [None, 0], ids=["no target", "target"])
def test_a_share_is_of_the_samples_and_not_of_what_comes_first(target: int | None) -> None:
    x, _ = data()
    adj, y = torch.randn(3, 3, dtype=torch.float64), None if target is None else torch.zeros(6, 3, dtype=torch.float64)
    seen = []

    @ig.term(wrt="x")
    def watch(batch: ig.Batch) -> Tensor:
        seen.append((batch.inputs["adj"].shape[0], batch.inputs["x"].shape[0]))
        return batch.gradient(wrt="x").square().sum(1)

    criterion = ig.InputGradientLoss("mse" if y is not None else None, watch.scheduled(fraction=0.5))
    if y is None:
        with pytest.raises(ValueError, match=r"how many samples there are: the inputs have the shapes \[\[3, 3\], \[6, 3\]\] and the target has no rows"):
            criterion(Graph(), {"adj": adj, "x": x})
    else:
        criterion(Graph(), {"adj": adj, "x": x}, y)
        assert seen == [(3, 3)]


def test_a_share_needs_a_target_of_the_inputs_rows() -> None:
    from inputgrad.places import ModelInputs, sampled

    with pytest.raises(ValueError, match=r"shapes \[\[6, 3\]\] and the target \[\[5\]\]"):
        sampled(ModelInputs.of(torch.zeros(6, 3)), torch.zeros(5), 0.5)
    inputs, labels = sampled(ModelInputs.of(torch.zeros(6, 3)), {"class": torch.arange(6), "weight": 2.0}, 0.5)
    assert (inputs.args[0].shape[0], len(labels["class"]), labels["weight"]) == (3, 3, 2.0)
    assert isinstance(inputs.kwargs, Mapping)
