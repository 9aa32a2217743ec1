"""What is measured: one model, one batch and one loss each, in the library's words and handwritten.

A workload knows its plain step (the loss without the term) and the textbook step (``autograd.grad(create_graph=True)``, as people write it).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Engine

Parts = Callable[[nn.Module, Tensor, Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    model and data: factories, so that nothing is built before it is measured.
    textbook: (model, inputs, target) -> the base loss and the weighted term, both 0-d.
    """

    name: str
    model: Callable[[], nn.Module]
    data: Callable[[], tuple[Tensor, Any]]
    base: Callable[[Tensor, Any], Tensor]
    terms: Callable[[], Any]
    textbook: Parts

    def plain(self, model: nn.Module, inputs: Tensor, target: Any) -> Tensor:
        return self.base(model(inputs), target)

    def criterion(self, engine: str | Engine) -> ig.InputGradientLoss:
        return ig.InputGradientLoss(self.base, self.terms(), engine=engine)


WEIGHT = 0.1


def loss_gradient(model: nn.Module, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    x = inputs.detach().requires_grad_()
    losses = F.cross_entropy(model(x), target, reduction="none")
    return losses, torch.autograd.grad(losses.sum(), x, create_graph=True)[0]


def double_backpropagation(model: nn.Module, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    losses, gradient = loss_gradient(model, inputs, target)
    return losses.mean(), WEIGHT * gradient.square().flatten(1).sum(1).mean()


def squared_loss_gradient() -> Any:
    return WEIGHT * ig.GradientNorm(power=2, of="loss")


def mlp(width: int = 1024, depth: int = 3, activation: type[nn.Module] = nn.SiLU) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(784, width), activation()]
    for _ in range(depth - 2):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def deep(depth: int) -> nn.Module:
    """The MLP in He et al.'s initialisation: in torch's own the input gradient of 16 layers vanishes, and with it what is measured (the term: 1e-17)."""
    model = mlp(1024, depth)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    return model


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.second = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


def residual_cnn() -> nn.Module:
    def down(i: int, o: int) -> nn.Module:
        return nn.Conv2d(i, o, 3, stride=2, padding=1)

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), Residual(32), down(32, 64), Residual(64), down(64, 128), Residual(128), *head)


def relu_cnn() -> nn.Module:
    def block(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(3, 32), *block(32, 64), *block(64, 128), nn.Flatten(), nn.Linear(128 * 16, 10))


class Transformer(nn.Module):
    """An encoder over embeddings ``[N, T, 128]``; ``fused``: attention by torch's fused kernel (no second derivative) or by the math kernel."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class PairForces(nn.Module):
    """An energy ``[N]`` of positions ``[N, atoms, 3]`` from pairwise distances in 32 Gaussians."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
        self.register_buffer("centers", torch.linspace(0, 5, 32))

    def forward(self, positions: Tensor) -> Tensor:
        eye = torch.eye(positions.shape[1])[None]
        distance = ((positions[:, :, None] - positions[:, None]).square().sum(-1) + eye).sqrt()
        energy = self.pair(torch.exp(-((distance[..., None] - self.centers) ** 2))).squeeze(-1)
        return (energy * (1 - eye)).sum((1, 2))


def energy_loss(energy: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    return (energy - target[0]).square()


def forces_off(batch: ig.Batch) -> Tensor:
    """‖−∂E/∂x − F‖² a structure."""
    return (batch.gradient() + batch.target[1]).square().sum((1, 2))


def energy_and_forces(model: nn.Module, inputs: Tensor, target: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x = inputs.detach().requires_grad_()
    energy = model(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
    return (energy - target[0]).square().mean(), WEIGHT * (gradient + target[1]).square().sum((1, 2)).mean()


def critic_mlp() -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(2, 512), nn.LeakyReLU(0.2)]
    for _ in range(2):
        layers += [nn.Linear(512, 512), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(512, 1))


def critic_conv() -> nn.Module:
    first, second = nn.Conv2d(1, 64, 4, 2, 1), nn.Conv2d(64, 128, 4, 2, 1)
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128 * 49, 1))


def wasserstein(output: Tensor, sign: Tensor) -> Tensor:
    """Critic loss over real (sign −1) and fake (sign +1) samples in one batch: mean of fakes minus mean of reals."""
    return 2 * (output.squeeze(1) * sign)


@dataclass(frozen=True)
class Between(ig.Place):
    """The interpolates of a batch that holds real samples in its first half and fakes in its second; ε fixed, so that every engine sees the same."""

    def inputs(self, batch: ig.Batch) -> Tensor:
        real, fake = batch.variable(0).chunk(2)
        return 0.3 * real + 0.7 * fake


def gradient_penalty(model: nn.Module, inputs: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    real, fake = inputs.chunk(2)
    x = (0.3 * real + 0.7 * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return wasserstein(model(inputs), sign).mean(), 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def images(size: int, *shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(size, *shape), torch.randint(10, (size,)))


def structures() -> tuple[Tensor, tuple[Tensor, Tensor]]:
    return 3 * torch.rand(16, 20, 3), (torch.randn(16), torch.randn(16, 20, 3))


def real_and_fake(size: int, *shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(2 * size, *shape), torch.cat([-torch.ones(size), torch.ones(size)]))


def classifier(name: str, model: Callable[[], nn.Module], data: Callable[[], tuple[Tensor, Tensor]]) -> Workload:
    return Workload(name, model, data, nn.CrossEntropyLoss(), squared_loss_gradient, double_backpropagation)


def critic(name: str, model: Callable[[], nn.Module], data: Callable[[], tuple[Tensor, Tensor]]) -> Workload:
    return Workload(name, model, data, wasserstein, lambda: 10 * ig.GradientNorm(center=1, power=2, at=Between()), gradient_penalty)


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        classifier("mlp", mlp, images(256, 784)),
        classifier("mlp_relu", lambda: mlp(activation=nn.ReLU), images(256, 784)),
        classifier("cnn_32", residual_cnn, images(32, 3, 32, 32)),
        classifier("cnn_128", residual_cnn, images(128, 3, 32, 32)),
        classifier("cnn_relu_32", relu_cnn, images(32, 3, 32, 32)),
        classifier("transformer_64", Transformer, images(16, 64, 128)),
        classifier("transformer_512", Transformer, images(2, 512, 128)),
        Workload("forces", PairForces, structures, energy_loss, lambda: WEIGHT * ig.term(forces_off), energy_and_forces),
        critic("critic_mlp", critic_mlp, real_and_fake(256, 2)),
        critic("critic_conv", critic_conv, real_and_fake(64, 1, 28, 28)),
    )
}

SCALING: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        *(classifier(f"width_{width}", functools.partial(mlp, width), images(256, 784)) for width in (256, 1024, 4096)),
        *(classifier(f"depth_{depth}", functools.partial(deep, depth), images(256, 784)) for depth in (2, 16)),
        *(classifier(f"batch_{batch}", mlp, images(batch, 784)) for batch in (32, 2048)),
    )
}
"""The MLP 784-1024-1024-10 at batch 256, one of width, depth and batch changed."""

QUICK = ("mlp", "cnn_32", "transformer_64", "forces", "critic_mlp", "critic_conv")
