"""Models in which plain double backward raises or another engine has its limits; ``hindered = False`` takes the obstacle away."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

FEATURES, TOKENS, WIDTH = 6, 4, 8


class Hindered(nn.Module):
    """A model with an obstacle that can be taken away."""

    hindered = True


def mlp(activation: Callable[[], nn.Module] = nn.SiLU, norm: Callable[[int], nn.Module] | None = None) -> nn.Module:
    middle = [] if norm is None else [norm(16)]
    return nn.Sequential(nn.Linear(FEATURES, 16), *middle, activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 3))


class Attention(nn.Module):
    """`F.scaled_dot_product_attention` as it comes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.project, self.head = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 3)
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, 2, WIDTH // 2)).permute(2, 0, 3, 1, 4)
        return self.head(F.scaled_dot_product_attention(q, k, v, **self.settings).transpose(1, 2).flatten(2)).mean(1)


class Encoder(nn.Module):
    """`nn.TransformerEncoderLayer` as it comes."""

    def __init__(self, activation: str = "relu", *, masked: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0, batch_first=True, activation=activation)
        self.head = nn.Linear(WIDTH, 3)
        self.masked, self.causal = masked, causal

    def forward(self, x: Tensor) -> Tensor:
        upper = nn.Transformer.generate_square_subsequent_mask(TOKENS, dtype=x.dtype) if self.causal else None
        padded = (torch.arange(TOKENS) >= TOKENS - 1).expand(x.shape[0], -1) if self.masked else None
        return self.head(self.layer(x, src_mask=upper, src_key_padding_mask=padded, is_causal=self.causal)).mean(1)


class Checkpointed(Hindered):
    def __init__(self, activation: Callable[[], nn.Module] = nn.SiLU, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, 16), nn.Linear(16, 3)
        self.region = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), activation(), nn.Linear(16, 16))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        return self.last(checkpoint(self.region, z, use_reentrant=self.reentrant) if self.hindered else self.region(z))


class _OnceSine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0].cos()


class Once(Hindered):
    """A custom Function marked once_differentiable, in the middle or as the very last operation."""

    def __init__(self, activation: Callable[[], nn.Module] = nn.SiLU, *, at_the_end: bool = False) -> None:
        super().__init__()
        self.first, self.activation, self.last = nn.Linear(FEATURES, 16), activation(), nn.Linear(16, 3)
        self.at_the_end = at_the_end

    def forward(self, x: Tensor) -> Tensor:
        sine = _OnceSine.apply if self.hindered else torch.sin
        if self.at_the_end:
            return sine(self.last(self.activation(self.first(x))))
        return self.last(self.activation(sine(self.first(x))))


class HardSigmoid(Hindered):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        return self.last(torch.tanh(z) * (F.hardsigmoid(3 * z) if self.hindered else (z / 2 + 0.5).clamp(0, 1)))


class Recurrent(nn.Module):
    def __init__(self, cell: Callable[..., nn.Module], **settings: Any) -> None:
        super().__init__()
        self.cell, self.head = cell(FEATURES // 2, 8, batch_first=True, **settings), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.view(-1, 2, FEATURES // 2))[0][:, -1])


class GatedLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.glu(self.first(x)))


class AsksTheCaller(nn.Module):
    """Calls ``requires_grad_()`` on the tensor that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.requires_grad_())


class Scripted(nn.Module):
    """A part made by ``torch.jit.script``."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.body = torch.jit.script(mlp(norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Calling(nn.Module):
    """Holds a function that computes its output."""

    def __init__(self, function: Callable[[Tensor], Tensor], parameters: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.body = parameters

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
