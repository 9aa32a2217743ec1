"""Heads of a part of what the model computes: of one of several outputs, and of what an inner module returns. Must not know models."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from inputgrad.heads.base import EachOutput, Head, Of, resolve


@dataclass(frozen=True)
class Inner(Head):
    """A head of what an inner module returns, in place of the model's output: ``Inner("encoder")`` is the Jacobian of the hidden representation.

    module: its name in the model, as `torch.nn.Module.named_modules` gives it. head: what is taken of its output ``[N, ...]``; each of them by default.
    Costs a forward pass of its own, in which the module must be called once.
    """

    module: str
    head: Head = field(default_factory=EachOutput)

    def __post_init__(self) -> None:
        if not isinstance(self.head, Head):
            raise TypeError(f"Inner: head must be a head of inputgrad.heads, such as EachOutput(), got {type(self.head).__name__}")

    def identity(self) -> Hashable:
        return (Inner, self.module, self.head.identity())

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return self.head(output, target)

    def drawn(self, output: Tensor) -> Head:
        return self.head.drawn(output)


@dataclass(frozen=True)
class Output(Head):
    """One output of a model that returns several: ``Output("energy")`` is the sum per sample of that output.

    key: its name in a dict, its attribute of a dataclass or another object, or its position in a tuple. of: the head that is taken of it: a name
    ("output", "label", "log_prob"), a head, or a callable ``(output, target) -> [N]``. The output has one row per sample, ``[N, ...]``.

    >>> from torch import nn
    >>> from inputgrad import GradientNorm, InputGradientLoss
    >>> criterion = InputGradientLoss(lambda out, target: (out["energy"] - target).square().mean(), 0.1 * GradientNorm(of=Output("energy")))
    """

    key: str | int
    of: Of = "output"

    def __post_init__(self) -> None:
        if isinstance(self.key, bool) or not isinstance(self.key, (str, int)):
            raise TypeError(f"Output: key must be the name or the position of an output, got {self.key!r}")
        if isinstance(self.of, str) and self.of == "loss":
            raise ValueError(f'Output({self.key!r}, of="loss"): the base loss sees what the model returns; its own head is of="loss" by itself')
        if isinstance(self.of, (Inner, Output)):
            raise TypeError(f"Output: of must be a head of the one output, got {self.of!r}")
        resolve(self.of)

    def identity(self) -> Hashable:
        return (Output, self.key, self.head.identity())

    @property
    def head(self) -> Head:
        """What is taken of the output."""
        return resolve(self.of)

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        raise TypeError(f"{self!r} cannot be taken here, of a tensor: pick the output for base loss and terms with InputGradientLoss(..., output={self.key!r})")
