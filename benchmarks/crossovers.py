"""``python -m benchmarks.crossovers``: from which size on the library's own ways are quicker than torch's, for the constants in the code that say so.

Fields: one pass on jets against nested backward passes (``LEAST_NUMBERS`` in operators/taylor/plan.py). ReLU: the exchanged derivative against torch's
(``LEAST`` in derivatives/relu.py). Each row is the ratio of the two in one run, interleaved; below 1 the library's own way is quicker.
"""

import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import inputgrad as ig
from benchmarks.small_steps import network
from inputgrad.bench.timing import interleaved
from inputgrad.derivatives import relu
from inputgrad.memory import memory
from inputgrad.operators.taylor import plan
from inputgrad.operators.taylor.model_pass import NUMBERS

ROUNDS = 31
EQUATIONS = ((2, 32, 3, 500), (2, 50, 4, 500), (2, 50, 4, 1000), (2, 50, 4, 2000), (3, 20, 3, 100), (3, 32, 3, 300), (3, 50, 4, 1000), (4, 20, 3, 50))
"""Coordinates, width, depth, points; as many backward passes as coordinates."""
LAYERS = ((64, 64), (256, 64), (128, 256), (256, 256), (512, 256), (1024, 256))
"""Samples and width."""


def step(criterion: ig.InputGradientLoss, model: nn.Module, x: Tensor, y: Any, patched: Callable[[], Any]) -> Callable[[], None]:
    def made() -> None:
        model.zero_grad()
        with patched():
            criterion.backward(model, x, y)

    return made


def ratio(own: Callable[[], None], other: Callable[[], None]) -> float:
    return interleaved({"other": other, "own": own}, ROUNDS, warm=3, budget=15).ratio("own", "other")


def field(coordinates: int, width: int, depth: int, points: int) -> str:
    model, x, names = network(coordinates, *[width] * depth), torch.rand(points, coordinates), "xyzt"[:coordinates]
    ways = {}
    for name, least in (("jets", 0), ("nested", 1 << 62)):
        criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.d(names[0]) - u.laplacian(*names[1:]), names=names))
        ways[name] = step(criterion, model, x, None, lambda least=least: mock.patch.object(plan, "LEAST_NUMBERS", dict.fromkeys(range(9), least)))  # type: ignore[misc]  # bound now
    found = ratio(ways["jets"], ways["nested"])
    return f"{coordinates} passes, {memory(model).measured[NUMBERS] * points:9.0f} numbers: jets {found:.2f} of nested"


def rectified(samples: int, width: int, base: str | None) -> str:
    """Without a base loss on the same pass torch makes a backward pass of zeros, which the exchanged derivative leaves out."""
    model, x, y = network(width, width, width, activation=nn.ReLU), torch.randn(samples, width), torch.randn(samples, 1)
    ways = {}
    for name, least in (("own", 0), ("torch", 1 << 62)):
        criterion = ig.InputGradientLoss(base, ig.GradientNorm(power=2))
        ways[name] = step(criterion, model, x, y, lambda least=least: mock.patch.object(relu, "LEAST", least))  # type: ignore[misc]  # bound now
    return f"ReLU, {samples * width:7d} elements, base loss {base}: own {ratio(ways['own'], ways['torch']):.2f} of torch's"


def main() -> None:
    warnings.simplefilter("ignore")
    for equation in EQUATIONS:
        print(field(*equation), flush=True)
    for base in (None, "mse"):
        for layer in LAYERS:
            print(rectified(*layer, base), flush=True)


if __name__ == "__main__":
    main()
