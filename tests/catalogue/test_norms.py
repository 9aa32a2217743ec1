"""Penalties on norms: against their papers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inputgrad import recipes
from tests.catalogue.harness import Entry, cases, check


def loss_gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """∂ℓ_n/∂x_n ``[N, D]`` of cross-entropy, with its graph."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x, create_graph=True)
    return g.flatten(1)


def double_backpropagation(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Drucker & LeCun 1992, eq. 4, with the half of their energy."""
    return 0.1 * (loss_gradients(model, x, y) ** 2).sum(1).mean() / 2


ENTRIES = (Entry("double_backpropagation", lambda: recipes.double_backpropagation(0.1), double_backpropagation, base="cross_entropy"),)


@pytest.mark.parametrize(("entry", "model", "engine"), cases(ENTRIES))
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)
