"""The catalogue's table: each published loss against a plain-torch transcription of its paper, on every engine and several kinds of model.

A family's test file lists its `Entry`s, and one parametrised test calls `check`. The transcriptions are written in the family's file, in float64, and
import nothing of the library. Random draws are taken from torch's generator in the library's order: seeded alike before both.
"""

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Compiled
from tests import zoo
from tests.textbook import Gradients, distance, parameter_gradients

SIZE = 6


def scalar() -> nn.Module:
    """One output per sample: a critic, an energy, a price, a distance."""
    return nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Softplus(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1))


def scalar_relu() -> nn.Module:
    return nn.Sequential(nn.Linear(zoo.FEATURES, 9), nn.LeakyReLU(0.2), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 1))


def steep() -> nn.Module:
    """A critic whose gradients have norms on both sides of 1."""
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 9), nn.SiLU(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.4)
    return model


def field() -> nn.Module:
    """As many outputs as inputs: a score network, an autoencoder."""
    return nn.Sequential(nn.Linear(zoo.FEATURES, 7), nn.SiLU(), nn.Linear(7, zoo.FEATURES))


class Generator(nn.Module):
    """Latents ``[N, 2, 4]``, one for each of two layers, to images ``[N, 2, 3, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.style, self.paint = nn.Linear(4, 18), nn.Linear(4, 2), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, w: Tensor) -> Tensor:
        image = torch.tanh(self.coarse(w[:, 0])).unflatten(1, (2, 3, 3))
        return F.softplus(self.paint(image * self.style(w[:, 1])[:, :, None, None]))


def latents(n: int) -> Tensor:
    return torch.randn(n, 2, 4, dtype=torch.float64)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    "smooth": (zoo.mlp, zoo.features),
    "relu": (lambda: zoo.mlp(nn.ReLU), zoo.features),
    "max_pool": (zoo.cnn_max_pool, zoo.images),
    "group_norm": (zoo.cnn_group_norm, zoo.images),
    "batch_norm": (zoo.with_batch_norm, zoo.features),
    "attention": (zoo.MathAttention, zoo.tokens),
    "scalar": (scalar, zoo.features),
    "scalar_relu": (scalar_relu, zoo.features),
    "steep": (steep, zoo.features),
    "field": (field, zoo.features),
    "generator": (Generator, latents),
}
CLASSIFIERS = ("smooth", "relu", "max_pool", "group_norm", "batch_norm", "attention")
"""Three outputs per sample: for most entries."""
SCALARS = ("scalar", "scalar_relu")

BACKEND = os.environ.get("CATALOGUE_BACKEND", "eager")
"""What torch.compile makes of the joint graphs: nothing, or with "aot_eager" (as by ``make study``) all but code, which takes three times as long."""
ENGINES: dict[str, tuple[Any, float]] = {
    "double_backward": ("double_backward", 1e-10),
    "reverse_over_forward": ("reverse_over_forward", 1e-10),
    "finite_difference": ("finite_difference", 1e-6),
    "compiled": (Compiled(backend=BACKEND), 1e-10),
}
"""Engine -> what the criterion is given, and the relative error allowed in float64. "compiled": the joint graph by itself, on the first model."""


def labels(inputs: Any) -> Tensor:
    return torch.arange(len(inputs)) % zoo.OUTPUTS


def values(inputs: Any) -> Tensor:
    return torch.linspace(-1, 1, len(inputs) * zoo.OUTPUTS, dtype=torch.float64).reshape(len(inputs), zoo.OUTPUTS)


def prices(inputs: Any) -> Tensor:
    return torch.linspace(-1, 1, len(inputs), dtype=torch.float64)[:, None]


BASES: dict[str | None, Callable[[Tensor, Any], Tensor]] = {
    None: lambda output, target: 0 * output.sum(),
    "mse": lambda output, target: ((output - target) ** 2).mean(),
    "cross_entropy": lambda output, target: F.cross_entropy(output, target),
}


@dataclass(frozen=True)
class Entry:
    """One entry of the catalogue.

    name: that of the recipe or of the term. terms: makes what is added to the base loss. reference: the same in plain torch,
    ``(model, inputs, target) -> 0-d``, weight included, with its graph. target: made of the inputs. base: None, "mse" or "cross_entropy".
    models: names of `MODELS`. inputs: makes the inputs, where they are others than the model's usual ones.
    refused: engine -> what its error must say, where an engine does not support it.
    """

    name: str
    terms: Callable[[], Any]
    reference: Callable[[nn.Module, Any, Any], Tensor]
    target: Callable[[Any], Any] = labels
    base: str | None = None
    models: tuple[str, ...] = CLASSIFIERS
    inputs: Callable[[int], Any] | None = None


ONE_IN = 10 if BACKEND == "eager" else 1
"""Which share of the entries is compiled too: a trace takes seconds, and ``make study`` makes that of each entry."""


def cases(entries: Iterable[Entry]) -> list[Any]:
    """Every entry on each of its models with every engine; the compiled one on the first model, of one entry in `ONE_IN`."""
    return [
        pytest.param(entry, model, engine, id=f"{entry.name}-{model}-{engine}")
        for number, entry in enumerate(entries)
        for model in entry.models
        for engine in ENGINES
        if engine != "compiled" or (model == entry.models[0] and number % ONE_IN == 0)
    ]


def made(entry: Entry, model: str) -> tuple[nn.Module, Any, Any]:
    """The model, seeded, its inputs, and their target."""
    make, usual = MODELS[model]
    torch.default_generator.manual_seed(0)
    network = make().double()
    inputs = (entry.inputs or usual)(SIZE)
    return network, inputs, entry.target(inputs)


def expected(entry: Entry, model: str) -> tuple[float, Gradients, Gradients]:
    """Value, parameter gradients, and those of the terms alone, by the transcription."""
    network, inputs, target = made(entry, model)
    twin = copy.deepcopy(network)
    torch.default_generator.manual_seed(4)
    own = entry.reference(twin, inputs, target)
    terms = parameter_gradients(twin, own)
    twin = copy.deepcopy(network)
    gradients: Gradients = dict(terms)
    value = own.item()
    if entry.base is not None:
        base = BASES[entry.base](twin(inputs), target)
        value += base.item()
        parts = parameter_gradients(twin, base)
        gradients = {name: _sum(part, parts[name]) for name, part in terms.items()}
    return value, gradients, terms


def check(entry: Entry, model: str, engine: str) -> None:
    """Value and parameter gradient of the library are those of the transcription, the error told relative to the terms' own gradient."""
    value, gradients, terms = expected(entry, model)
    own = distance(terms, dict.fromkeys(terms))
    assert own > 0, "the entry does not pull at the parameters, so this would hold for any engine"
    network, inputs, target = made(entry, model)
    chosen, tolerance = ENGINES[engine]
    criterion = ig.InputGradientLoss(entry.base, entry.terms(), engine=chosen)
    torch.default_generator.manual_seed(4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*couples the samples.*")
        warnings.filterwarnings("ignore", message=".*which carries a state.*")
        loss = criterion(network, inputs, target)
    found = parameter_gradients(network, loss)
    assert math.isclose(loss.item(), value, rel_tol=1e-10, abs_tol=1e-12)
    off = distance(found, gradients) * distance(gradients, dict.fromkeys(gradients))
    assert off / own <= tolerance


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
