"""``python -m benchmarks.higher_orders``: Laplacians, a biharmonic operator and a step of a physics-informed network, against the same written by hand.

Each row: value and parameter gradient of a mean square, interleaved in one process. ``by hand`` is the forward Laplacian (Li et al. 2024) written out for
this network, ``nested`` reverse mode in reverse mode, as people write it. Beside them JAX, folx, DeepXDE and PINA, where they are installed. Peak memory is
that of a fresh process, the first step included but for ways that compile.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from benchmarks.memory import measured_peak
from benchmarks.peers import MISSING, Way, check_same, gradients_of, installed, versions
from inputgrad import operators
from inputgrad.bench.environment import environment
from inputgrad.bench.timing import interleaved

RESULTS = Path(__file__).parent / "higher_orders.json"


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


Makers = dict[str, Callable[[], Way]]
"""The ways of a row by name, each made when it is wanted: `ModuleNotFoundError` where a package is not there. All are checked against the first."""


def laplacian_row(inputs: int, samples: int) -> Makers:
    model, x = network(inputs, 64), torch.rand(samples, inputs)
    quantities = {"by hand": forward_laplacian, "inputgrad": operators.laplacian, "nested": nested_laplacian}
    own = {name: _torch(model, lambda f=f: f(model, x).square().mean()) for name, f in quantities.items()}
    return {**own, **_in_jax(model, x), "DeepXDE": lambda: _peer("deepxde", model, x), "PINA": lambda: _peer("pina", model, x)}


def biharmonic_row() -> Makers:
    model, x = network(2, 64), torch.rand(2000, 2)

    def ours() -> Tensor:
        return operators.field(model, x, names="xy").biharmonic().square().mean()

    return {
        "nested": _torch(model, lambda: nested_biharmonic(model, x).square().mean()),
        "inputgrad": _torch(model, ours),
        "JAX, nested": lambda: _jax("twice_nested", 0.0, model, x),
    }


def pinn_row() -> Makers:
    """Poisson's equation on the square: 10,000 points inside, 400 on the boundary."""
    model, inside, edge = network(2, 50), torch.rand(10000, 2), torch.rand(400, 2)
    terms = ig.recipes.poisson(source=1.0, names="xy") + ig.recipes.condition(1.0, value=0.0, at=ig.Given(edge), names="xy")
    criterion, compiled = ig.InputGradientLoss(None, terms), ig.InputGradientLoss(None, terms, engine="compiled")

    def written(laplacian: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: (-laplacian(model, inside) - 1).square().mean() + model(edge).square().mean()

    def one_call() -> list[Tensor]:
        model.zero_grad()
        compiled.backward(model, inside, None)
        return gradients_of(model)

    def ours() -> Tensor:
        return criterion(model, inside, None)

    return {
        "nested": _torch(model, written(nested_laplacian)),
        "by hand": _torch(model, written(forward_laplacian)),
        "inputgrad": _torch(model, ours),
        "inputgrad, compiled": lambda: Way(one_call, lambda: ours().item(), compiles=True),
        **_in_jax(model, inside, edge, source=1.0),
        "DeepXDE": lambda: _peer("deepxde", model, inside, edge, 1.0),
        "PINA": lambda: _peer("pina", model, inside, edge, 1.0),
    }


def _torch(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Way]:
    def step() -> list[Tensor]:
        model.zero_grad()
        loss().backward()
        return gradients_of(model)

    return lambda: Way(step, lambda: loss().item())


def _in_jax(model: nn.Sequential, *tensors: Tensor, source: float = 0.0) -> Makers:
    ways = {"JAX, nested": "nested", "folx": "forward_laplacian"}
    return {name: lambda operator=operator: _jax(operator, source, model, *tensors) for name, operator in ways.items()}


def _jax(operator: str, source: float, model: nn.Sequential, *tensors: Tensor) -> Way:
    from benchmarks import peers_jax

    return peers_jax.way(peers_jax.mean_square(getattr(peers_jax, operator), source), model, *tensors)


def _peer(name: str, *arguments: Any) -> Way:
    from benchmarks import peers_pinn

    return getattr(peers_pinn, name)(*arguments)


ROWS: dict[str, Callable[[], Makers]] = {
    "laplacian_2": lambda: laplacian_row(2, 4000),
    "laplacian_10": lambda: laplacian_row(10, 1000),
    "laplacian_50": lambda: laplacian_row(50, 200),
    "laplacian_100": lambda: laplacian_row(100, 100),
    "biharmonic": biharmonic_row,
    "pinn": pinn_row,
}


def measured(makers: Makers, rounds: int) -> dict[str, Any]:
    """For each way its median time and its ratio to the first one. They compute the same thing, which is checked before."""
    ways = installed(makers)
    check_same(ways)
    times = interleaved({name: way.step for name, way in ways.items()}, rounds, warm=2, budget=60)
    first = next(iter(ways))
    return {name: {"milliseconds": 1e3 * times.median(name), "ratio": times.ratio(name, first)} if name in ways else MISSING for name in makers}


def peak(way: Way) -> int:
    """Bytes above the resting process of the first two steps; of a third one where the first compiles, which no later step pays again."""
    for _ in range(2 if way.compiles else 0):
        way.step()
    return measured_peak(way.step, first=1 if way.compiles else 2)


def memory_of(name: str, way: str) -> float:
    """Peak megabytes above the resting process, in a process of its own: of the first steps, or of a later one where the first compiles."""
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
        print(peak(ROWS[arguments.rows[0]]()[arguments.peak]()))
        return
    found: dict[str, Any] = {}
    for name in arguments.rows or ROWS:
        found[name] = measured(ROWS[name](), arguments.rounds)
        for way, cell in found[name].items():
            if "ratio" in cell and not arguments.no_memory:
                cell["megabytes"] = memory_of(name, way)
        print(f"{name:14s}" + "   ".join(f"{way}: {_shown(cell)}" for way, cell in found[name].items()), flush=True)
    figures = {"environment": environment(), "peers": versions(), "rounds": arguments.rounds, "results": found}
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def _shown(cell: dict[str, Any]) -> str:
    if "missing" in cell:
        return cell["missing"]
    return f"{cell['milliseconds']:.1f} ms ({cell['ratio']:.2f})" + (f" {cell['megabytes']:.0f} MB" if "megabytes" in cell else "")


if __name__ == "__main__":
    main()
