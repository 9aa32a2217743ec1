"""A physics-informed network for Burgers' equation (Raissi, Perdikaris & Karniadakis 2019): ∂u/∂t + u ∂u/∂x = ν ∂²u/∂x² with ν = 0.01/π.

From u = −sin(πx) a shock forms at x = 0, as wide as ν. No solution is shown to the network: the loss is the equation's residual alone, and the conditions
are built into the model. What comes out is compared with the exact solution (Cole and Hopf), made by quadrature.

Run: python examples/burgers.py [--picture PICTURE]
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes.physics_informed import burgers

VISCOSITY = 0.01 / math.pi
STRETCH = 0.03
"""Within this distance of the shock points lie evenly, beyond it their density falls like 1/x."""


def exact(x: Tensor, t: Tensor, nodes: int = 100) -> Tensor:
    """u(x, t) = −∫ sin(πy) f(y) G dη / ∫ f(y) G dη with y = x − η, f(y) = exp(−cos(πy)/2πν), G = exp(−η²/4νt): by Gauss-Hermite quadrature."""
    roots, weights = (torch.tensor(part) for part in np.polynomial.hermite.hermgauss(nodes))
    y = x[..., None] - 2 * (VISCOSITY * t[..., None]).sqrt() * roots
    f = weights * torch.exp(-torch.cos(math.pi * y) / (2 * math.pi * VISCOSITY))
    return -(torch.sin(math.pi * y) * f).sum(-1) / f.sum(-1)


class Solution(nn.Module):
    """u(x, t) = −sin(πx) + t (1 − x²) (N(x, t) − N(−x, t)): the initial value, the ends u(±1, t) = 0 and the oddness in x hold exactly.

    N is a network of x, t and a stretched coordinate, arsinh(x/c), in which the shock is no sharper than the rest.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers = [nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1, bias=False)]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.network = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2], nn.Tanh(), layers[3])

    def forward(self, points: Tensor) -> Tensor:
        x, t = points[:, :1], points[:, 1:]
        odd = torch.cat([x, torch.asinh(x / STRETCH) / math.asinh(1 / STRETCH)], 1)
        even = 2 * t - 1
        right, left = self.network(torch.cat([torch.cat([odd, even], 1), torch.cat([-odd, even], 1)])).chunk(2)
        return -torch.sin(math.pi * x) + t * (1 - x * x) * (right - left)


def drawn(sobol: torch.quasirandom.SobolEngine, n: int) -> Tensor:
    """Points (x, t) of the right half, ``[n, 2]``: half of them evenly, half of them closer to the shock."""
    points = sobol.draw(n, dtype=torch.float64)
    points[n // 2 :, 0] = STRETCH * torch.sinh(points[n // 2 :, 0] * math.asinh(1 / STRETCH))
    return points


def trained(rounds: int, steps: int, n: int) -> nn.Module:
    """L-BFGS on fixed points, which are drawn anew each round."""
    torch.manual_seed(0)
    model = Solution().double()
    criterion = ig.InputGradientLoss(None, burgers(viscosity=VISCOSITY, names="xt"))
    sobol, began = torch.quasirandom.SobolEngine(2, scramble=True, seed=0), time.perf_counter()
    for number in range(rounds):
        points = drawn(sobol, n)
        settings = {"history_size": 80, "tolerance_grad": 0, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=steps, max_eval=2 * steps, **settings)

        def closure(optimizer: torch.optim.Optimizer = optimizer, points: Tensor = points) -> Tensor:
            optimizer.zero_grad()
            return criterion.backward(model, points).loss  # evaluates, and fills .grad

        optimizer.step(closure)
        loss = criterion(model, drawn(sobol, 4 * n)).item()  # at points that it was not trained on
        print(f"round {number + 1}   mean squared residual {loss:.1e}   relative L2 error {error(model):.1e}   {time.perf_counter() - began:4.0f} s")
    return model


def grid() -> tuple[Tensor, Tensor]:
    """x ``[256]`` from −1 to 1 and t ``[100]`` from 0.01 to 1."""
    return torch.linspace(-1, 1, 256, dtype=torch.float64), torch.linspace(0.01, 1, 100, dtype=torch.float64)


def values(model: nn.Module) -> Tensor:
    """The network's u on the grid, ``[256, 100]``."""
    x, t = grid()
    with torch.no_grad():
        return model(torch.cartesian_prod(x, t)).reshape(len(x), len(t))


def error(model: nn.Module) -> float:
    """‖u − exact‖₂ / ‖exact‖₂ over the grid."""
    x, t = torch.meshgrid(*grid(), indexing="ij")
    solution = exact(x, t)
    return ((values(model) - solution).norm() / solution.norm()).item()


def draw(path: Path, model: nn.Module) -> None:
    x, t = grid()
    found, solution = values(model), exact(*torch.meshgrid(x, t, indexing="ij"))
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    map_, slices, off = figure.subplots(1, 3)
    shown = map_.imshow(found.numpy(), aspect="auto", extent=(0, 1, -1, 1), origin="lower", cmap="RdBu")
    map_.set(xlabel="t", ylabel="x", title="the network's u")
    figure.colorbar(shown, ax=map_)
    for column in (24, 49, 98):
        (line,) = slices.plot(x, solution[:, column], linewidth=3, alpha=0.4)
        slices.plot(x, found[:, column], "--", color=line.get_color(), label=f"t = {float(t[column]):.2f}")
    slices.set(xlabel="x", title="u: exact (wide), network (dashed)")
    slices.legend(loc="lower left", fontsize="small")
    off.semilogy(t, (found - solution).norm(dim=0) / solution.norm(dim=0))
    off.set(xlabel="t", title="relative L2 error at t")
    figure.savefig(path, dpi=100)


def main(picture: Path | None = None, rounds: int = 6, steps: int = 1000, n: int = 800) -> dict[str, float]:
    x, t = torch.meshgrid(*grid(), indexing="ij")
    quadrature = (exact(x, t) - exact(x, t, nodes=180)).abs().max().item()
    model = trained(rounds, steps, n)
    figures = {"error": error(model), "quadrature": quadrature}
    print(f"relative L2 error {figures['error']:.2e}; the exact solution with 100 and 180 nodes differs by {quadrature:.0e} at the most")
    if picture:
        draw(picture, model)
    assert figures["error"] < 1e-3  # 5e-4 after six rounds; the path of L-BFGS differs from machine to machine
    assert figures["quadrature"] < 1e-8
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path)
    torch.set_num_threads(1)  # tensors of 1600 × 24 are too small to share
    main(parser.parse_args().picture)
