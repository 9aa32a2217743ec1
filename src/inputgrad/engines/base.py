"""What every engine gives: an input gradient, and the way from its cotangent back to the parameters. Must not know terms."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from inputgrad.devices import Reading
from inputgrad.errors import Suggesting
from inputgrad.heads import Score
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.pass_options import PassOptions
from inputgrad.tracing.records import StepRequest, StepResult
from inputgrad.variables import Key

Cotangents = tuple[Tensor, ...]
"""v: one tensor per variable, of the gradient's shape."""


@dataclass(frozen=True)
class GradientRequest:
    """What an engine is asked for: the input gradient of ``score`` with respect to ``wrt``, on the model's forward pass.

    base_loss_offered: the base loss is a multiple c of Σ_n s_n, and the engine may take its parameter gradient along.
    immediate: all leaf gradients are collected in one go, so that the engine may hand out gradients that it knows already.
    lean: least memory, not least time: a pass is freed once its gradient is there, and made again where its graph is needed again.
    """

    forward: ForwardPass
    score: Score
    wrt: tuple[Key, ...]
    base_loss_offered: bool = False
    immediate: bool = False
    lean: bool = False

    @property
    def model(self) -> nn.Module:
        return self.forward.model


@dataclass(frozen=True)
class KnownGradients:
    """Leaves with a gradient that an engine has computed already."""

    leaves: list[tuple[Tensor, Tensor]]


Share = Tensor | KnownGradients
"""A part of ⟨v, g⟩ + c·Σ_n s_n as a function of the parameters: a 0-d tensor with a graph of its own, or gradients of leaves that are known."""


@dataclass(frozen=True)
class Linearization:
    """The input gradient g at one place, and ⟨v, g⟩ as a function of the parameters for a cotangent v.

    gradient: one detached tensor per variable, ``[N, ...]`` as the variable, or ``[N, K, ...]`` for a head of K rows.
    same_pass: v -> the share of ⟨v, g⟩ that the pass at the place itself carries in its graph, 0-d; None where that pass has no share.
    extra_passes: (v, c) -> the remaining shares, made one at a time as they are asked for.
    asks: v -> the numbers that the shares look at, such as a length of v: asked for first, so that those of a whole step are read in one transfer.
    takes_base_loss: whether these shares add up to ⟨v, g⟩ + c·Σ_n s_n, the base loss taken along; c is 0 where they do not.
    The values of the shares may be anything; their parameter gradients count.
    """

    gradient: tuple[Tensor, ...]
    same_pass: Callable[[Cotangents], Tensor] | None = None
    extra_passes: Callable[[Cotangents, float], Iterable[Share]] | None = None
    asks: Callable[[Cotangents], Reading] | None = None
    takes_base_loss: bool = False

    @property
    def constant(self) -> bool:
        """Whether nothing goes on to the parameters."""
        return self.same_pass is None and self.extra_passes is None

    def shares(self, v: Cotangents, c: float = 0.0) -> list[Share]:
        """All shares at once."""
        return [*([self.same_pass(v)] if self.same_pass else []), *(self.extra_passes(v, c) if self.extra_passes else ())]


@dataclass(frozen=True)
class Traits:
    """What is known of an engine without running it."""

    exact: bool
    needs: str
    """What the model must be capable of, in words."""
    passes: str = ""
    """The arithmetic of one step, in words: a plain step is one forward and one backward pass, the latter twice the former."""
    memory: str = ""
    """Which graphs are kept, in words."""
    takes_base_loss: bool = False
    """Whether base loss and input gradient may share passes, where the base loss is a multiple of the sum of the samples' own losses."""
    takes_whole_steps: bool = False
    """Whether the engine may make a whole step at once (`Engine.take_step`)."""


class Engine(metaclass=Suggesting):
    """How we backpropagate through the input gradient. Concrete engines are frozen dataclasses: their settings are the object."""

    name: ClassVar[str]
    traits: ClassVar[Traits]

    def pass_options(self, model: nn.Module) -> PassOptions:
        """What is to be done around the runs of this model; made anew for each forward pass."""
        return PassOptions()

    @abstractmethod
    def linearize(self, request: GradientRequest) -> Linearization:
        """The input gradient that is asked for, and how it goes on to the parameters. Raises `EngineError` where it cannot."""

    def tried(self, request: GradientRequest, linearization: Linearization) -> float | None:
        """Have its shares made once, for nothing: the relative error of their parameter gradient, measured; None where the engine is exact or cannot tell.

        Raises `EngineError` where they cannot be made, or are too far off to be of use.
        """
        linearization.shares(tuple(torch.ones_like(part) for part in linearization.gradient))
        return None

    def take_step(self, request: StepRequest) -> StepResult | None:
        """The whole step at once, with parameter gradients; None where it is to be made gradient by gradient (`linearize`)."""
        return None


def constant_gradient(request: GradientRequest) -> Linearization:
    """The input gradient as a constant: first order only, so every model works and no engine is asked."""
    gradient = input_gradient(request.forward, request.score, request.wrt, create_graph=False)
    if request.forward.may_free_graph:
        request.forward.free_graph()
    return Linearization(tuple(part.detach() for part in gradient))
