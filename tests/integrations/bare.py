"""What every integration is held against: the loop of torch that its users would have written themselves."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig

FEATURES, CLASSES, N = 6, 3, 48


def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.SiLU(), nn.Linear(16, CLASSES))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(N, FEATURES, generator=generator), torch.randint(CLASSES, (N,), generator=generator)


def criterion() -> ig.InputGradientLoss:
    """Two terms that draw nothing."""
    return nn.CrossEntropyLoss() + 0.5 * ig.GradientNorm(of="loss", power=2) + 0.2 * ig.Adversarial(ig.FGSM(0.05))


def drawing() -> ig.InputGradientLoss:
    """Terms with everything that goes on from step to step: random draws, a schedule, a weight that moves, a perturbation that is carried."""
    terms = (
        0.1 * ig.GradientNorm(of=ig.heads.RandomProjection(1)),
        (moving * ig.GradientNorm(of="loss")).scheduled(every=2),
        0.3 * ig.Adversarial(ig.Carried(0.05)),
    )
    return ig.InputGradientLoss(nn.CrossEntropyLoss(), terms)


def moving(step: int) -> float:
    return 0.01 * step


def loop(network: nn.Module, loss: Callable[[Any, Any], Tensor], batches: Iterable[tuple[Any, Any]], *, lr: float = 0.05, clip: float | None = None) -> None:
    """Plain SGD with momentum."""
    optimizer = torch.optim.SGD(network.parameters(), lr, momentum=0.9)
    for x, y in batches:
        optimizer.zero_grad()
        loss(x, y).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()


def batches(size: int, epochs: int = 2) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = data()
    for _ in range(epochs):
        yield from zip(x.split(size), y.split(size), strict=True)


def distance(first: nn.Module, second: nn.Module) -> float:
    """The largest difference of two networks' weights, relative to the largest weight."""
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    return max(float((a - b).detach().abs().max()) for a, b in pairs) / max(float(b.detach().abs().max()) for _, b in pairs)
