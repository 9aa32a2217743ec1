"""The model, the batches and the loss of the compiled engine's tests."""

from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled

BACKEND = "eager"
FEATURES, CLASSES = 6, 3


def network(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 16), *(middle or (nn.SiLU(),)), nn.Linear(16, CLASSES)).double()


def batch(size: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, FEATURES, generator=generator, dtype=torch.float64), torch.randint(0, CLASSES, (size,), generator=generator)


def loss(kind: Any, weight: Any = 0.3) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("cross_entropy", weight * ig.GradientNorm(of="loss", power=2), engine=kind)


def compiled(**settings: Any) -> Compiled:
    return Compiled(backend=BACKEND, **settings)
