"""Models of every nasty kind that a loss on the input gradient meets: small, float64, three outputs per sample. Knows nothing of the library.

Each maker is seeded, so two calls give the same model. ``make(n)`` gives the inputs of n samples as the model is called.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

OUTPUTS = 3
FEATURES = 5
IMAGE = (2, 6, 6)
TOKENS = (4, 8)


def features(n: int) -> Tensor:
    return torch.randn(n, FEATURES, dtype=torch.float64)


def images(n: int) -> Tensor:
    return torch.rand(n, *IMAGE, dtype=torch.float64)


def tokens(n: int) -> Tensor:
    return torch.randn(n, *TOKENS, dtype=torch.float64)


def two_of_features(n: int) -> tuple[Tensor, Tensor]:
    return features(n), features(n)


def mlp(activation: Callable[[], nn.Module] = nn.SiLU) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 7), activation(), nn.Linear(7, 6), activation(), nn.Linear(6, OUTPUTS))


def cnn_max_pool() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.SiLU(), nn.Flatten(), nn.Linear(3, OUTPUTS))


def cnn_group_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(4, OUTPUTS))


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 12), nn.Dropout(0.4), nn.SiLU(), nn.Dropout(0.3), nn.Linear(12, OUTPUTS))


def with_batch_norm() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, OUTPUTS))
    with torch.no_grad():
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    return model


def with_spectral_norm() -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Linear(FEATURES, 6)), nn.Tanh(), nn.Linear(6, OUTPUTS))


class MathAttention(nn.Module):
    """`nn.MultiheadAttention` that returns its weights, and so takes the kernel that has a second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(TOKENS[1], 2, batch_first=True)
        self.norm = nn.LayerNorm(TOKENS[1])
        self.head = nn.Linear(TOKENS[1], OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attention(x, x, x)
        return self.head(self.norm(x + mixed).mean(1))


class FusedAttention(nn.Module):
    """Attention whose kernel is chosen by torch: on the CPU the fused one, which has no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(TOKENS[1], 3 * TOKENS[1])
        self.head = nn.Linear(TOKENS[1], OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unsqueeze(1) for part in self.project(x).chunk(3, dim=-1))
        return self.head(F.scaled_dot_product_attention(query, key, value).squeeze(1).mean(1))


class Shared(nn.Module):
    """One linear layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class Unused(nn.Module):
    """A layer that the forward pass never calls, and a parameter that reaches the output only past the input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()
        self.never = nn.Linear(4, 4)
        self.offset = nn.Parameter(torch.randn(OUTPUTS))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.offset


def frozen() -> nn.Module:
    model = mlp()
    model[0].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    return model


class InPlaceOnInput(nn.Module):
    """Works in place on what it is given, before anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.mul_(1.5).add_(0.1))


def in_place_activations() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 7), nn.SiLU(inplace=True), nn.Linear(7, 6), nn.LeakyReLU(0.2, inplace=True), nn.Linear(6, OUTPUTS), nn.ReLU(inplace=True)
    )


class TwoInputs(nn.Module):
    """Two inputs, called as ``model(a, b)``."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(FEATURES, 6), nn.Linear(FEATURES, 6)
        self.head = nn.Linear(6, OUTPUTS)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.tanh(self.left(a)) * torch.sigmoid(self.right(b)))


class Tokens(nn.Module):
    """Integer tokens and a mask: only the embedding can be differentiated. Returns an object with ``.logits``."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.body = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.head = nn.Linear(6, OUTPUTS)

    def forward(self, input_ids: Tensor, mask: Tensor) -> SimpleNamespace:
        hidden = self.body(self.embedding(input_ids)) * mask[..., None]
        return SimpleNamespace(logits=self.head(hidden.sum(1)), hidden=hidden)


def token_inputs(n: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(0, 11, (n, 4)), "mask": (torch.rand(n, 4) > 0.3).to(torch.float64)}


class Recurrent(nn.Module):
    """A GRU; returns the output and its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(TOKENS[1], 5, batch_first=True)
        self.head = nn.Linear(5, OUTPUTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = self.cell(x)
        return self.head(states[:, -1]), last


class Checkpointed(nn.Module):
    """Activations that are computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, 6), nn.SiLU())
        self.head = nn.Linear(6, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False))


class Counting(nn.Module):
    """A buffer that each forward pass changes and that the output depends on; the caller's tensor is asked for a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        x.requires_grad_()
        self.calls += 1
        return self.body(x) * self.calls


class Deaf(nn.Module):
    """The outputs of some samples do not depend on their input: their input gradient is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: Tensor) -> Tensor:
        heard = torch.arange(x.shape[0], device=x.device) % 2 == 0
        return self.body(torch.where(heard[:, None], x, torch.ones_like(x)))


@dataclass(frozen=True)
class Specimen:
    """One model of the zoo.

    wrt: what the loss is told to differentiate with respect to. plain: the same for the textbook, in the form of the call (position, name, module).
    pick: the output tensor of what the model returns. least: the smallest batch. math_kernel: the textbook needs torch's own attention arithmetic.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any] = features
    wrt: Any = 0
    plain: tuple[Any, ...] = (0,)
    pick: Callable[[Any], Tensor] = field(default=lambda returned: returned)
    training: bool = True
    least: int = 1
    math_kernel: bool = False

    def make(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(1)
            return self.build().double().train(self.training)

    def data(self, n: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(2)
            return self.inputs(n)

    def kernel(self) -> AbstractContextManager[Any]:
        """Around the textbook: the attention kernel that has a second derivative, where torch would choose one that has none."""
        return sdpa_kernel(SDPBackend.MATH) if self.math_kernel else nullcontext()


def _first(returned: tuple[Tensor, ...]) -> Tensor:
    return returned[0]


def _logits(returned: SimpleNamespace) -> Tensor:
    return returned.logits


def _dict_of_features(n: int) -> Mapping[str, Tensor]:
    return dict(zip(("a", "b"), two_of_features(n), strict=True))


ZOO: tuple[Specimen, ...] = (
    Specimen("mlp", mlp),
    Specimen("mlp_relu", lambda: mlp(nn.ReLU)),
    Specimen("critic_leaky_relu", lambda: mlp(lambda: nn.LeakyReLU(0.2))),
    Specimen("cnn_max_pool", cnn_max_pool, images),
    Specimen("cnn_group_norm", cnn_group_norm, images),
    Specimen("dropout", with_dropout),
    Specimen("dropout_eval", with_dropout, training=False),
    Specimen("batch_norm", with_batch_norm, least=3),  # of two samples it makes ±1 whatever they are: nothing is left to differentiate
    Specimen("batch_norm_eval", with_batch_norm, training=False),
    Specimen("spectral_norm", with_spectral_norm),
    Specimen("attention", MathAttention, tokens),
    Specimen("fused_attention", FusedAttention, tokens, math_kernel=True),
    Specimen("shared", Shared),
    Specimen("unused", Unused),
    Specimen("frozen", frozen),
    Specimen("in_place_on_input", InPlaceOnInput),
    Specimen("in_place_activations", in_place_activations),
    Specimen("tuple", TwoInputs, two_of_features),
    Specimen("tuple_second", TwoInputs, two_of_features, wrt=1, plain=(1,)),
    Specimen("tuple_by_name", TwoInputs, two_of_features, wrt="b", plain=(1,)),
    Specimen("tuple_several", TwoInputs, two_of_features, wrt=(0, 1), plain=(0, 1)),
    Specimen("dict", TwoInputs, _dict_of_features, wrt="b", plain=("b",)),
    Specimen("dict_by_position", TwoInputs, _dict_of_features, wrt=0, plain=("a",)),
    Specimen("tokens", Tokens, token_inputs, wrt="module:embedding", plain=("module:embedding",), pick=_logits),
    Specimen("inner_module", mlp, wrt="module:1", plain=("module:1",)),
    Specimen("input_and_inner_module", mlp, wrt=(0, "module:2"), plain=(0, "module:2")),
    Specimen("recurrent", Recurrent, tokens, pick=_first),
    Specimen("checkpointed", Checkpointed),
    Specimen("counting", Counting),
    Specimen("deaf", Deaf),
)
BY_NAME = {specimen.name: specimen for specimen in ZOO}
