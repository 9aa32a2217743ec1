"""Models of five kinds, with a term each, on which a gradient is judged by its value; and engines that are wrong on purpose."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import DoubleBackward, Engine, GradientRequest, KnownGradients, Linearization, Traits


class Forces(nn.Module):
    """An energy of positions ``[N, A, 3]``, of pairwise distances."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, positions: Tensor) -> Tensor:
        first, second = torch.triu_indices(positions.shape[1], positions.shape[1], 1)
        distances = (positions[:, first] - positions[:, second]).square().sum(-1, keepdim=True).add(0.1).sqrt()
        return self.net(distances).sum((1, 2))


@dataclass(frozen=True)
class Setting:
    """A model, its batch and its term."""

    model: nn.Module
    inputs: Any
    target: Any
    term: Any
    base: Any = None


def mlp() -> Setting:
    model = nn.Sequential(nn.Linear(12, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 4))
    return Setting(model, torch.randn(24, 12), torch.randint(4, (24,)), ig.GradientNorm(of="loss", power=2), "cross_entropy")


def cnn() -> Setting:
    blocks = [nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return Setting(model, torch.randn(6, 2, 10, 10), torch.randint(3, (6,)), ig.GradientNorm(of="label"))


def transformer() -> Setting:
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.2, batch_first=True), nn.Flatten(), nn.Linear(16 * 5, 3))
    return Setting(model, torch.randn(6, 5, 16), torch.randint(3, (6,)), ig.GradientNorm(of="label", power=2))


def forces() -> Setting:
    return Setting(Forces(), torch.randn(5, 4, 3), torch.randn(5, 4, 3), ig.GradientMatch(lambda batch: batch.target, sign=-1))


def pinn() -> Setting:
    model = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))
    return Setting(model, torch.rand(20, 2), None, ig.Residual(lambda u: u.d("t") + u.value * u.d("x") - 0.1 * u.d("xx"), names="xt"))


SETTINGS: dict[str, Callable[[], Setting]] = {"mlp": mlp, "cnn": cnn, "transformer": transformer, "forces": forces, "pinn": pinn}


@dataclass(frozen=True)
class Wrong(Engine):
    """Double backward with a mistake: the share of ⟨v, g⟩ is changed by ``mistake``."""

    mistake: Callable[[Tensor, list[nn.Parameter]], Iterable[Tensor | KnownGradients]] = field(repr=False)

    name: ClassVar[str] = "wrong"
    traits: ClassVar[Traits] = Traits(exact=True, needs="nothing")

    def linearize(self, request: GradientRequest) -> Linearization:
        right = DoubleBackward().linearize(request)
        assert right.same_pass is not None
        parameters = list(request.model.parameters())
        return Linearization(right.gradient, extra_passes=lambda v, _c: self.mistake(right.same_pass(v), parameters))


def off_by(parameter: nn.Parameter, share: Tensor, factor: float) -> KnownGradients:
    """What is added to a parameter's gradient, so that it learns this share too much."""
    (gradient,) = torch.autograd.grad(share, parameter, retain_graph=True, allow_unused=True, materialize_grads=True)
    return KnownGradients([(parameter, factor * gradient)])


def by_five_percent(share: Tensor, _parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
    yield 1.05 * share


def by_a_factor(share: Tensor, _parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
    yield share / 7


def cut(share: Tensor, _parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
    yield 0.0 * share


def in_one_layer(share: Tensor, parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
    """The first layer's weight learns nothing."""
    yield off_by(parameters[0], share, -1.0)
    yield share


def for_one_parameter(share: Tensor, parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
    """The largest weight after the first learns a third too much."""
    largest = max(parameters[1:], key=lambda parameter: parameter.numel())
    yield off_by(largest, share, 1 / 3)
    yield share


def not_a_number(share: Tensor, parameters: list[nn.Parameter]) -> Iterable[Tensor | KnownGradients]:
    """The first layer's weight gets NaN."""
    yield off_by(parameters[0], share, float("nan"))
    yield share


class _Slope(torch.autograd.Function):
    """1 − tanh², whose own derivative is too small by the share ``size``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: float) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        ctx.size = size
        return 1 - y * y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return (1 - ctx.size) * gradient * (-2 * y * (1 - y * y)), None


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.size = size
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient * _Slope.apply(x, ctx.size), None


class MistakenTanh(nn.Module):
    """tanh with its own first derivative, and second and higher ones too small by a share."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Tanh.apply(x, self.size)  # type: ignore[no-untyped-call]
        return result


def through_the_model(setting: Setting, size: float, which: int | None) -> Setting:
    """The setting with a mistake in the second derivative of the model's tanh layers, or of one of them."""
    assert isinstance(setting.model, nn.Sequential)
    layers = [number for number, layer in enumerate(setting.model) if isinstance(layer, nn.Tanh)]
    for number in layers if which is None else [layers[which % len(layers)]]:
        setting.model[number] = MistakenTanh(size)
    return setting


MISTAKES = [by_five_percent, by_a_factor, cut, in_one_layer, for_one_parameter, not_a_number]
