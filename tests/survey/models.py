"""Models with something to be found in each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

FEATURES, OUTPUTS, SAMPLES = 6, 3, 5


def mlp(activation: Callable[[], nn.Module] = nn.Tanh) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), activation(), nn.Linear(16, OUTPUTS))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(16, OUTPUTS))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(8, OUTPUTS))


class Tokens(nn.Module):
    """Integers in, an encoder with torch's fused attention inside."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.layer, self.head = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True), nn.Linear(8, OUTPUTS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.embedding(tokens)).mean(1))


class Spoiling(nn.Module):
    """Writes in place on its input, and uses one layer of two."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(FEATURES, OUTPUTS), nn.Linear(FEATURES, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x.mul_(2)).tanh()


class Detached(nn.Module):
    """No path from the output to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.detach())


class Warning_(nn.Module):  # noqa: N801
    """Warns whenever it is called, and draws random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, OUTPUTS)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        import warnings

        warnings.warn("the model speaks", stacklevel=1)
        self.calls += 1
        return self.layer(x + 0.1 * torch.randn_like(x)).tanh()
