"""``python -m benchmarks.higher_orders``: Laplacians, a biharmonic operator and a step of a physics-informed network, against the same written by hand.

Each row: value and parameter gradient of a mean square, interleaved in one process. ``by hand`` is the forward Laplacian (Li et al. 2024) written out for
this network, ``nested`` reverse mode in reverse mode, as people write it. Peak memory is that of one step in a fresh process, the first included.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from benchmarks.memory import measured_peak
from inputgrad import operators
from inputgrad.bench.environment import environment
from inputgrad.bench.timing import interleaved

RESULTS = Path(__file__).parent / "higher_orders.json"
Step = Callable[[], None]


def network(inputs: int, width: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(inputs, width), nn.Tanh()]
    for _ in range(3):
        layers += [nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def forward_laplacian(model: nn.Sequential, x: Tensor) -> Tensor:
    """Value, Jacobian and Laplacian carried through the layers; what is the same for all samples stays one row."""
    value, jacobian, laplacian = x, None, None
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.t()
            jacobian = weight[:, None, :] if jacobian is None else jacobian @ weight
            laplacian = None if laplacian is None else laplacian @ weight
            value = layer(value)
        else:
            value = torch.tanh(value)
            first = 1 - value * value
            curvature = -2 * value * first * jacobian.square().sum(0)
            laplacian = curvature if laplacian is None else first * laplacian + curvature
            jacobian = first * jacobian
    return laplacian


def gradient(quantity: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(quantity.sum(), x, create_graph=True)[0]


def nested_laplacian(model: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    first = gradient(model(x), x)
    return sum(gradient(first[:, i], x)[:, i] for i in range(x.shape[1]))[:, None]


def nested_biharmonic(model: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    quantity = model(x)[:, 0]
    for _ in range(2):
        first = gradient(quantity, x)
        quantity = sum(gradient(first[:, i], x)[:, i] for i in range(x.shape[1]))
    return quantity


@dataclass(frozen=True)
class Row:
    """A row of the table: the ways by name. The first is what the others are compared with."""

    name: str
    ways: dict[str, Step]


def laplacian_row(inputs: int, samples: int) -> Row:
    model, x = network(inputs, 64), torch.rand(samples, inputs)
    quantities = {"by hand": forward_laplacian, "inputgrad": operators.laplacian, "nested": nested_laplacian}
    return Row(f"laplacian_{inputs}", {name: _step(model, lambda f=f: f(model, x).square().mean()) for name, f in quantities.items()})


def biharmonic_row() -> Row:
    model, x = network(2, 64), torch.rand(2000, 2)

    def ours() -> Tensor:
        return operators.field(model, x, names="xy").biharmonic().square().mean()

    return Row("biharmonic", {"nested": _step(model, lambda: nested_biharmonic(model, x).square().mean()), "inputgrad": _step(model, ours)})


def pinn_row() -> Row:
    """Poisson's equation on the square: 10,000 points inside, 400 on the boundary."""
    model, inside, edge = network(2, 50), torch.rand(10000, 2), torch.rand(400, 2)
    terms = ig.recipes.poisson(source=1.0, names="xy") + ig.recipes.condition(1.0, value=0.0, at=ig.Given(edge), names="xy")
    criterion = ig.InputGradientLoss(None, terms)

    def written(laplacian: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: (-laplacian(model, inside) - 1).square().mean() + model(edge).square().mean()

    ways = {"nested": written(nested_laplacian), "by hand": written(forward_laplacian), "inputgrad": lambda: criterion(model, inside, None)}
    return Row("pinn", {name: _step(model, loss) for name, loss in ways.items()})


def _step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    def step() -> None:
        model.zero_grad()
        loss().backward()

    return step


ROWS: dict[str, Callable[[], Row]] = {
    "laplacian_2": lambda: laplacian_row(2, 4000),
    "laplacian_10": lambda: laplacian_row(10, 1000),
    "laplacian_50": lambda: laplacian_row(50, 200),
    "laplacian_100": lambda: laplacian_row(100, 100),
    "biharmonic": biharmonic_row,
    "pinn": pinn_row,
}


def measured(row: Row, rounds: int) -> dict[str, Any]:
    """For each way its median time and its ratio to the first one."""
    times = interleaved(row.ways, rounds, warm=2, budget=60)
    first = next(iter(row.ways))
    return {name: {"milliseconds": 1e3 * times.median(name), "ratio": times.ratio(name, first)} for name in row.ways}


def memory_of(name: str, way: str) -> float:
    """Peak megabytes above the resting process, in a process of its own."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.higher_orders", name, "--peak", way]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Time derivatives of higher order against the same written by hand, interleaved in one process.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which ones (default: all): {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=9, help="how often each way is timed (default: 9)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--peak", metavar="WAY", help="only print the bytes of one step of this way")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go (default: benchmarks/higher_orders.json)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak:
        step = ROWS[arguments.rows[0]]().ways[arguments.peak]
        print(measured_peak(step, first=2))
        return
    found: dict[str, Any] = {}
    for name in arguments.rows or ROWS:
        found[name] = measured(ROWS[name](), arguments.rounds)
        for way, cell in found[name].items():
            if not arguments.no_memory:
                cell["megabytes"] = memory_of(name, way)
        print(
            f"{name:14s}" + "".join(f"{way}: {cell['milliseconds']:.1f} ms ({cell['ratio']:.2f}){_megabytes(cell)}   " for way, cell in found[name].items()),
            flush=True,
        )
    arguments.json.write_text(json.dumps({"environment": environment(), "rounds": arguments.rounds, "results": found}, indent=1) + "\n")


def _megabytes(cell: dict[str, Any]) -> str:
    return f" {cell['megabytes']:.0f} MB" if "megabytes" in cell else ""


if __name__ == "__main__":
    main()
