"""The losses of the matrix, each twice: as a criterion of the library, and transcribed in plain torch, one process, the whole batch, float64.

The transcriptions import nothing of the library but the criterion beside them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.recipes.physics import force_matching

WEIGHT = 0.3
ROWS = 8
"""Samples of the whole batch: two processes of 4, or four micro-batches of 2."""
ATOMS = 2
EPSILON = 0.1
PROJECTIONS = 2

Chunk = tuple[Any, Any]
"""Inputs and target."""


class Energy(nn.Module):
    """One energy per structure ``[N]`` of positions ``[N, A, 3]``."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, positions: Tensor) -> Tensor:
        energy: Tensor = self.layers(positions.flatten(1)).sum(1)
        return energy


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3 * ATOMS, 16), nn.SiLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)).double().to(dtype)


def vectors(rows: int = ROWS) -> Chunk:
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.randn(rows, size, generator=generator, dtype=torch.float64) for size in (3 * ATOMS, 2))
    return x, y


def structures(rows: int = ROWS) -> Chunk:
    generator = torch.Generator().manual_seed(7)
    shapes = ((rows, ATOMS, 3), (rows,), (rows, ATOMS, 3))
    positions, energy, forces = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return positions, {"energy": energy, "forces": forces}


@dataclass(frozen=True)
class Loss:
    """One column of the matrix. plain: (model, inputs, target, dtype of the draws) -> the loss, transcribed."""

    title: str
    criterion: Callable[[str], ig.InputGradientLoss]
    plain: Callable[[nn.Module, Any, Any, torch.dtype], Tensor]
    energy: bool = False
    drawn: bool = False
    """Whether it draws random numbers, so that it is the same only chunk by chunk, each with its own seed."""

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        return Energy(network(dtype)) if self.energy else network(dtype)

    def batch(self, rows: int = ROWS) -> Chunk:
        return structures(rows) if self.energy else vectors(rows)


def part(chunk: Chunk, rows: slice) -> Chunk:
    inputs, target = chunk
    return inputs[rows], {key: value[rows] for key, value in target.items()} if isinstance(target, dict) else target[rows]


def cast(chunk: Chunk, dtype: torch.dtype) -> Chunk:
    inputs, target = chunk
    return inputs.to(dtype), {key: value.to(dtype) for key, value in target.items()} if isinstance(target, dict) else target.to(dtype)


def reference(loss: Loss, chunks: Sequence[Chunk], draws: torch.dtype = torch.float64) -> list[Tensor | None]:
    """The parameter gradient of the whole batch in one process. Chunk n of a loss that draws is drawn for under the seed `seed(n)`."""
    model = loss.model()
    if loss.drawn:
        total = torch.zeros((), dtype=torch.float64)
        count = sum(len(inputs) for inputs, _ in chunks)
        for number, (inputs, target) in enumerate(chunks):
            torch.manual_seed(seed(number))
            total = total + len(inputs) / count * loss.plain(model, inputs, target, draws)
    else:
        inputs, target = joined(chunks)
        total = loss.plain(model, inputs, target, draws)
    return list(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))


def seed(number: int) -> int:
    return 100 + number


def joined(chunks: Sequence[Chunk]) -> Chunk:
    targets = [target for _, target in chunks]
    inputs = torch.cat([inputs for inputs, _ in chunks])
    if isinstance(targets[0], dict):
        return inputs, {key: torch.cat([target[key] for target in targets]) for key in targets[0]}
    return inputs, torch.cat(targets)


# the transcriptions


def _own_losses(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    own: Tensor = (model(x) - y).square().mean(1)
    return own


def _gradient_norm(model: nn.Module, x: Tensor, y: Tensor, _: torch.dtype) -> Tensor:
    x = x.requires_grad_()
    own = _own_losses(model, x, y)
    (g,) = torch.autograd.grad(own.sum(), x, create_graph=True)
    return own.mean() + WEIGHT * g.square().sum(1).mean()


def _gradient_alone(model: nn.Module, x: Tensor, y: Tensor, _: torch.dtype) -> Tensor:
    x = x.requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return WEIGHT * g.square().sum(1).mean()


def _forces(model: nn.Module, positions: Tensor, target: dict[str, Tensor], _: torch.dtype) -> Tensor:
    positions = positions.requires_grad_()
    energy = model(positions)
    (g,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
    return (energy - target["energy"]).square().mean() + WEIGHT * (-g - target["forces"]).square().mean((1, 2)).mean()


def _adversarial(model: nn.Module, x: Tensor, y: Tensor, _: torch.dtype) -> Tensor:
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(_own_losses(model, leaf, y).sum(), leaf)
    return _own_losses(model, x, y).mean() + WEIGHT * _own_losses(model, x + EPSILON * g.sign(), y).mean()


def _jacobian(model: nn.Module, x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
    x = x.requires_grad_()
    output = model(x)
    u = torch.randn(len(x), PROJECTIONS, output.shape[1], dtype=dtype)
    u = (u / u.norm(dim=2, keepdim=True)).to(x)
    squares = [torch.autograd.grad((output * u[:, k]).sum(), x, create_graph=True)[0].square().sum(1) for k in range(PROJECTIONS)]
    return (output - y).square().mean() + WEIGHT * torch.stack(squares).sum(0).mean()


def _loss(base: Any, term: Any) -> Callable[[Any], ig.InputGradientLoss]:
    return lambda engine: ig.InputGradientLoss(base, [term], engine=engine)


LOSSES = {
    "gradient norm": Loss("gradient norm", _loss("mse", WEIGHT * ig.GradientNorm(of="loss", power=2)), _gradient_norm),
    "gradient norm alone": Loss("gradient norm, without a base loss", _loss(None, WEIGHT * ig.GradientNorm(power=2)), _gradient_alone),
    "force matching": Loss("force matching", _loss(ig.OnTarget("energy"), force_matching(WEIGHT, forces="forces")), _forces, energy=True),
    "adversarial": Loss("adversarial (FGSM)", _loss("mse", WEIGHT * ig.Adversarial(ig.FGSM(EPSILON))), _adversarial),
    "jacobian projections": Loss(
        "Jacobian, random projections",
        _loss("mse", WEIGHT * ig.GradientNorm(of=ig.heads.RandomProjection(PROJECTIONS), power=2)),
        _jacobian,
        drawn=True,
    ),
}
