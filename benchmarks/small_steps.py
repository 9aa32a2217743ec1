"""``python -m benchmarks.small_steps``: steps of small networks, where what is added to each step weighs most, against the same lines by hand and in JAX.

A step is ``zero_grad``, loss, ``backward``; in JAX ``jit(value_and_grad)``. By hand = 1; all ways of a row run in turn, in one process, and figures are
medians of ratios round by round.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from benchmarks.peers import MISSING, Way, check_same, gradients_of, installed, versions
from inputgrad.bench.environment import environment
from inputgrad.bench.timing import interleaved

RESULTS = Path(__file__).parent / "small_steps.json"
WEIGHT = 0.1
JAX = "JAX"
Step = Callable[[], None]


def network(inputs: int, *widths: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, width in zip((inputs, *widths), widths, strict=False):
        layers += [nn.Linear(before, width), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


def penalised(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return F.mse_loss(output, y) + WEIGHT * g.square().sum(1).mean()


def prices_and_deltas(model: nn.Module, x: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    x = x.detach().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    return F.mse_loss(output, target[0]) + WEIGHT * (g - target[1]).square().sum(1).mean()


def heat(model: nn.Module, x: Tensor, _target: None) -> Tensor:
    """The mean square of u_t − 0.1 u_xx; x first, t second."""
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g[:, 0].sum(), x, create_graph=True)
    return (g[:, 1] - WEIGHT * h[:, 0]).square().mean()


def critic(model: nn.Module, x: Tensor, target: tuple[Tensor]) -> Tensor:
    """WGAN-GP's loss of real samples, the first half of x, and fakes, with its penalty at given points between them."""
    real, fake = model(x).chunk(2)
    z = target[0].detach().requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
    return fake.mean() - real.mean() + WEIGHT * (g.norm(dim=1) - 1).square().mean()


def attacked(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy at x and, weighted, at x + 0.1 · sign of its input gradient."""
    z = x.detach().requires_grad_()
    loss = F.cross_entropy(model(z), y)
    (g,) = torch.autograd.grad(loss, z, retain_graph=True)
    return loss + WEIGHT * F.cross_entropy(model(x + 0.1 * g.sign()), y)


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    return F.kl_div(other.log_softmax(1), clean.log_softmax(1), reduction="sum", log_target=True)


def trades(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """TRADES: the cross-entropy at x, and the divergence from there to where five steps along it lead from a random start."""
    output = model(x)
    clean, point = output.detach(), x + 0.1 * (2 * torch.rand_like(x) - 1)
    for _ in range(5):
        point = point.detach().requires_grad_()
        (g,) = torch.autograd.grad(divergence(clean, model(point)), point)
        point = torch.minimum(torch.maximum(point + 0.03 * g.sign(), x - 0.1), x + 0.1)
    return F.cross_entropy(output, y) + WEIGHT * divergence(output, model(point.detach())) / len(x)


def gammas(model: nn.Module, x: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Prices, deltas and gammas in one input."""
    z = x.detach().requires_grad_()
    output = model(z)
    (g,) = torch.autograd.grad(output.sum(), z, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), z, create_graph=True)
    first = F.mse_loss(output, target["price"]) + (g - target["delta"]).square().sum(1).mean()
    return first + WEIGHT * (h[:, None] - target["gamma"]).square().sum((1, 2)).mean()


def burgers(model: nn.Module, x: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """Burgers' equation u_t + u u_x = 0.1 u_xx at x, and values at other points."""
    z = x.detach().requires_grad_()
    u = model(z)
    (g,) = torch.autograd.grad(u.sum(), z, create_graph=True)
    (h,) = torch.autograd.grad(g[:, 0].sum(), z, create_graph=True)
    return (g[:, 1] + u[:, 0] * g[:, 0] - WEIGHT * h[:, 0]).square().mean() + F.mse_loss(model(target[0]), target[1])


def molecules(model: nn.Module, positions: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Energies, and forces with the weight 10."""
    r = positions.detach().requires_grad_()
    energy = model(r)
    (g,) = torch.autograd.grad(energy.sum(), r, create_graph=True)
    return F.mse_loss(energy, target["energy"]) + 10 * F.mse_loss(-g, target["forces"])


NOT_IN_JAX = (trades, gammas, burgers, molecules)
"""Losses that are not written in JAX here."""


class Network(nn.Module):
    """The same layers in a module of the user's own, as most models are: its forward may do anything, so it is watched more closely."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layers(x)
        return output


class Energy(nn.Module):
    """An energy of the distances of all pairs of atoms, by a layer on radial functions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0.5, 3, 8))
        self.hidden, self.out = nn.Linear(8, 32), nn.Linear(32, 1)

    def forward(self, positions: Tensor) -> Tensor:
        i, j = torch.triu_indices(positions.shape[1], positions.shape[1], 1)
        distances = (positions[:, i] - positions[:, j]).norm(dim=-1)
        radial = torch.exp(-((distances[..., None] - self.centres) ** 2))
        energies: Tensor = self.out(F.silu(self.hidden(radial))).sum((1, 2))
        return energies


def row(model: nn.Module, x: Tensor, target: Any, by_hand: Callable[..., Tensor], criterion: Callable[[str], ig.InputGradientLoss]) -> dict[str, Step]:
    def step(backward: Callable[[], Any]) -> Step:
        def made() -> None:
            model.zero_grad()
            backward()

        return made

    auto, compiled = criterion("auto"), criterion("compiled")
    steps = {
        "by hand": step(lambda: by_hand(model, x, target).backward()),
        "auto": step(lambda: auto(model, x, target).backward()),
        "auto, criterion.backward": step(lambda: auto.backward(model, x, target)),
        "compiled": step(lambda: compiled(model, x, target).backward()),
        "compiled, criterion.backward": step(lambda: compiled.backward(model, x, target)),
    }
    return steps | jax_step(model, x, target, by_hand, steps["by hand"])


def jax_step(model: nn.Module, x: Tensor, target: Any, by_hand: Callable[..., Tensor], step: Step) -> dict[str, Step]:
    """The same loss in JAX, jitted; nothing where JAX is not installed. Raises `RuntimeError` where it has another value or other gradients."""
    layers = model.layers if isinstance(model, Network) else model

    def gradients() -> list[Tensor]:
        step()
        return gradients_of(model)

    def in_jax() -> Way:
        from benchmarks import peers_jax

        assert isinstance(layers, nn.Sequential)
        return peers_jax.way(getattr(peers_jax, by_hand.__name__)(WEIGHT), layers, x, target)

    if by_hand in NOT_IN_JAX:
        return {}
    ways = installed({"by hand": lambda: Way(gradients, lambda: by_hand(model, x, target).item()), JAX: in_jax})
    check_same(ways, gradient=1e-4)
    return {JAX: ways[JAX].step} if JAX in ways else {}


def regression(size: int, inputs: int, *widths: int, activation: type[nn.Module] = nn.Tanh, of_a_class: bool = False) -> dict[str, Step]:
    layers = network(inputs, *widths, activation=activation)
    model = Network(layers) if of_a_class else layers
    x, y = torch.randn(size, inputs), torch.randn(size, 1)
    return row(model, x, y, penalised, lambda engine: ig.InputGradientLoss("mse", WEIGHT * ig.GradientNorm(power=2), engine=engine))


def greeks() -> dict[str, Step]:
    model = network(7, 20, 20, 20, 20, activation=nn.Softplus)
    x, target = torch.randn(256, 7), (torch.randn(256, 1), torch.randn(256, 7))
    term = WEIGHT * ig.GradientMatch(1, mask=None)
    return row(model, x, target, prices_and_deltas, lambda engine: ig.InputGradientLoss(ig.OnTarget(0), term, engine=engine))


def equation() -> dict[str, Step]:
    model, x = Network(network(2, 32, 32, 32)), torch.rand(500, 2)
    term = ig.Residual(lambda u: u.d("t") - WEIGHT * u.d("xx"), names="xt")
    return row(model, x, None, heat, lambda engine: ig.InputGradientLoss(None, term, engine=engine))


def wasserstein(output: Tensor, _target: tuple[Tensor]) -> Tensor:
    real, fake = output.chunk(2)
    return fake.mean() - real.mean()


def gan() -> dict[str, Step]:
    model = network(2, 64, 64, activation=nn.Softplus)
    x = torch.randn(256, 2)
    target = ((x[:128] + x[128:]) / 2,)
    term = WEIGHT * ig.GradientNorm(center=1, power=2, at=ig.Given(0))
    return row(model, x, target, critic, lambda engine: ig.InputGradientLoss(wasserstein, term, engine=engine))


def attack() -> dict[str, Step]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    x, y, term = torch.rand(64, 20), torch.randint(0, 5, (64,)), WEIGHT * ig.Adversarial(ig.FGSM(0.1))
    return row(model, x, y, attacked, lambda engine: ig.InputGradientLoss("cross_entropy", term, engine=engine))


def of_trades() -> dict[str, Step]:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()]
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 49, 10))
    x, y = torch.rand(32, 1, 14, 14), torch.randint(0, 10, (32,))
    term = WEIGHT * ig.Consistency(ig.PGD(0.1, steps=5, step_size=0.03, of="kl"))
    return row(model, x, y, trades, lambda engine: ig.InputGradientLoss("cross_entropy", term, engine=engine))


def of_gammas() -> dict[str, Step]:
    model = Network(network(1, 20, 20, 20, activation=nn.Softplus))
    x, target = torch.rand(256, 1), {"price": torch.rand(256, 1), "delta": torch.rand(256, 1), "gamma": torch.rand(256, 1, 1)}
    terms = ig.GradientMatch("delta") + WEIGHT * ig.HessianMatch("gamma")
    return row(model, x, target, gammas, lambda engine: ig.InputGradientLoss(ig.OnTarget("price"), terms, engine=engine))


def conditions() -> dict[str, Step]:
    model, x = Network(network(2, 20, 20, 20)), torch.rand(200, 2)
    points = torch.rand(50, 2)
    values = torch.sin(points[:, :1])
    terms = ig.recipes.burgers(viscosity=WEIGHT, names="xt") + ig.recipes.condition(value=values, names="xt", at=ig.Given(points))
    return row(model, x, (points, values), burgers, lambda engine: ig.InputGradientLoss(None, terms, engine=engine))


def forces() -> dict[str, Step]:
    torch.manual_seed(0)
    model, positions = Energy(), torch.randn(8, 10, 3)
    target = {"energy": torch.randn(8), "forces": torch.randn(8, 10, 3)}

    def criterion(engine: str) -> ig.InputGradientLoss:
        made = ig.recipes.energy_and_forces(energy_weight=1.0, forces_weight=10.0)
        made.engine = engine
        return made

    return row(model, positions, target, molecules, criterion)


ROWS: dict[str, tuple[str, Callable[[], dict[str, Step]]]] = {
    "tiny": ("2-12-12-1, tanh, 100 points", lambda: regression(100, 2, 12, 12)),
    "tiny_class": ("the same as a class of one's own", lambda: regression(100, 2, 12, 12, of_a_class=True)),
    "small": ("2-50×4-1, tanh, 256 points", lambda: regression(256, 2, 50, 50, 50, 50)),
    "greeks": ("7-20×4-1, softplus, 256 prices and deltas", greeks),
    "equation": ("3×32, tanh, a class; heat equation on 500 points", equation),
    "conditions": ("2-20×3-1, tanh, a class; Burgers' equation on 200 points, 50 values elsewhere", conditions),
    "gammas": ("1-20×3-1, softplus, a class; 256 prices, deltas and gammas", of_gammas),
    "forces": ("8-32-1 on the pairs' distances, a class; 8 molecules of 10 atoms", forces),
    "critic": ("2-64-64-1, softplus, WGAN-GP, 256 samples", gan),
    "attack": ("20-64-64-5, ReLU, one sign step, 64 samples", attack),
    "trades": ("2 convolutions with batch norm, 32 images of 14×14, TRADES of 5 steps", of_trades),
    "pinn_like": ("3-64×5-1, tanh, 4000 points", lambda: regression(4000, 3, 64, 64, 64, 64, 64)),
    "discriminator": ("2-512-256-1, ReLU, 4096 samples", lambda: regression(4096, 2, 512, 256, activation=nn.ReLU)),
}


def measured(steps: dict[str, Step], rounds: int) -> dict[str, Any]:
    times = interleaved(steps, rounds, warm=3, budget=30)
    cells: dict[str, Any] = {name: {"milliseconds": 1e3 * times.median(name), "ratio": times.ratio(name, "by hand")} for name in steps}
    if find_spec("jax") is None:
        cells[JAX] = MISSING
    return {**cells, "rounds": rounds, "disturbed_rounds": times.disturbed, "counted_though_disturbed": times.counted_disturbed}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time steps of small networks against the same lines by hand.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which ones (default: all): {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=101, help="how often each way is timed (default: 101)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go (default: benchmarks/small_steps.json)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found: dict[str, Any] = {}
    for name in arguments.rows or ROWS:
        found[name] = {"what": ROWS[name][0], **measured(ROWS[name][1](), arguments.rounds)}
        cells = ((way, cell) for way, cell in found[name].items() if isinstance(cell, dict) and "ratio" in cell)
        print(f"{name:14s}" + "   ".join(f"{way}: {cell['milliseconds']:.2f} ms ({cell['ratio']:.2f})" for way, cell in cells), flush=True)
    arguments.json.write_text(json.dumps({"environment": environment(), "peers": versions(), "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
