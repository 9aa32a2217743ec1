"""Match the direction of the input gradient with a wanted one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.heads import Of
from inputgrad.places import Place
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_norm import flattened
from inputgrad.variables import Wrt, keys_of


@dataclass(frozen=True, eq=False)
class DirectionMatch(Term):
    """R_n = 1 − cos(g_n, d_n) with g_n = ∂s_n/∂x_n: 0 where the input gradient points along d, 2 where it points against it.

    direction: d, a tensor of the shape of one sample's input (the same for all), one a sample ``[N, *input]``, or a callable of the batch that gives
    either. Only its direction counts. Rows of zeros ask for nothing: there R = 1, without a gradient.
    of, wrt, at: which scalar, with respect to what, and where.

    At g = 0, where the cosine has no value, R = 1 with the subgradient 0. Trained so, following the input gradient (`inputgrad.follow_gradient`)
    moves an input along d.
    """

    direction: Tensor | Callable[[Batch], Tensor]
    of: Of = "output"
    wrt: Wrt = 0
    at: Place | None = None

    def __post_init__(self) -> None:
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"DirectionMatch: wrt names one input, since there is one direction; got {self.wrt!r}. For several add one term for each")
        if isinstance(self.direction, Tensor):
            if not bool(self.direction.any()):
                raise ValueError("DirectionMatch: direction is zero everywhere, so it names no direction")
        elif not callable(self.direction):
            raise TypeError(f"DirectionMatch: direction must be a tensor or a callable of the batch, got {type(self.direction).__name__}")

    @classmethod
    def example(cls) -> "DirectionMatch":
        return cls(lambda batch: torch.ones_like(batch.variable(0)[0]))

    def __call__(self, batch: Batch) -> Tensor:
        gradient = batch.gradient(of=self.of, wrt=keys_of(self.wrt)[0], at=self.at)
        direction = self.direction if isinstance(self.direction, Tensor) else self.direction(batch)
        return 1 - cosine(gradient, _one_a_sample(direction, gradient))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """cos(a_n, b_n) ``[N]`` over all features of a sample; 0, with derivative 0, where either has length zero."""
    a, b = flattened(a), flattened(b)
    length = a.norm(dim=1) * b.norm(dim=1)
    defined = length > 0
    return torch.where(defined, (a * b).sum(1) / torch.where(defined, length, 1), 0)


def _one_a_sample(direction: Tensor, gradient: Tensor) -> Tensor:
    if not isinstance(direction, Tensor):
        raise TypeError(f"DirectionMatch: the callable direction must return a tensor, got {type(direction).__name__}")
    direction = direction.detach().to(gradient)
    if direction.shape == gradient.shape:
        return direction
    if direction.shape == gradient.shape[1:]:
        return direction.expand_as(gradient)
    raise ValueError(
        f"DirectionMatch: direction has shape {list(direction.shape)}; expected that of one sample's input gradient, {list(gradient.shape[1:])}, "
        f"or one a sample, {list(gradient.shape)}"
    )
