"""Dropout on what is not contiguous: inside functorch torch draws another mask there, so reverse over forward was silently wrong."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.rescue import models
from tests.rescue.served import DIFFERENCES, EXACT, distance, ours, reference

Dropping = Callable[[Tensor], Tensor]
WAYS: dict[str, Dropping] = {
    "function": lambda z: F.dropout(z, 0.5),
    "in place": lambda z: F.dropout(z.clone(), 0.5, inplace=True),
    "torch": lambda z: torch.dropout(z, 0.5, True),
    "torch in place": lambda z: torch.dropout_(z.clone(), 0.5, True),
    "rare": lambda z: F.dropout(z, 0.1),
    "none": lambda z: F.dropout(F.dropout(z, 0.0), 0.5, training=False),
    "alpha": lambda z: F.alpha_dropout(z, 0.5),
    "channels": lambda z: F.dropout1d(z, 0.5),
}


class Transposed(nn.Module):
    def __init__(self, dropping: Dropping) -> None:
        super().__init__()
        self.first, self.last, self.dropping = nn.Linear(models.WIDTH, 16), nn.Linear(16, 3), dropping

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.dropping(self.first(x).tanh().transpose(0, 1)).transpose(0, 1)).mean(1)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(models.WIDTH, 2, 16, dropout=0.3, batch_first=True)
        self.head = nn.Linear(models.WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)).mean(1)


MODELS: dict[str, Callable[[], nn.Module]] = {name: lambda dropping=dropping: Transposed(dropping) for name, dropping in WAYS.items()} | {"encoder": Encoder}


@pytest.mark.parametrize(("engine", "tolerance"), [("double_backward", EXACT), ("reverse_over_forward", EXACT), ("finite_difference", DIFFERENCES)])
@pytest.mark.parametrize("name", MODELS)
def test_every_engine_differentiates_under_the_masks_of_the_plain_pass(name: str, engine: str, tolerance: float) -> None:
    torch.manual_seed(2)
    model = MODELS[name]().double()
    x, y = torch.randn(5, models.TOKENS, models.WIDTH, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    torch.manual_seed(3)
    expected = reference(model, x, y)
    expected = [None if gradient is None else gradient.clone() for gradient in expected]
    torch.manual_seed(3)
    assert distance(ours(model, x, y, engine=engine), expected) < tolerance
