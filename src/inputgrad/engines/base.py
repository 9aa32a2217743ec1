"""The waist of the library: what every engine gives, and what it needs of a model.

An engine sees a forward pass and a score; never a term.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from inputgrad.heads import Score
from inputgrad.passes.forward_pass import ForwardPass, PassOptions
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.variables import Key

Cotangents = tuple[Tensor, ...]
"""v: one tensor a variable, of the gradient's shape."""


@dataclass(frozen=True)
class Joint:
    """⟨v, g⟩ + c·Σ_n s_n as a function of the parameters: gradients of leaves that are known already, and shares with a graph of their own."""

    known: list[tuple[Tensor, Tensor]]
    shares: Iterable[Tensor]


@dataclass(frozen=True)
class Linearization:
    """The input gradient at one place.

    gradient: one detached tensor a variable, ``[N, ...]`` as the variable, or ``[N, K, ...]`` for a head of K rows.
    here: v -> the share of ⟨v, g⟩ that the pass at the place itself carries in its graph, 0-d; None where that pass has no share.
    elsewhere: v -> the remaining shares, 0-d tensors with a graph of their own each, made one at a time as they are asked for.
    Together they are ⟨v, g⟩ as a function of the parameters; their values may be anything, their parameter gradients count.
    joined: (v, c) -> ⟨v, g⟩ + c·Σ_n s_n, where an engine was asked for both together (`Engine.joint`), in place of the other two.
    """

    gradient: tuple[Tensor, ...]
    here: Callable[[Cotangents], Tensor] | None = None
    elsewhere: Callable[[Cotangents], Iterable[Tensor]] | None = None
    joined: Callable[[Cotangents, float], Joint] | None = None

    @property
    def constant(self) -> bool:
        """Whether nothing goes on to the parameters."""
        return self.here is None and self.elsewhere is None and self.joined is None

    def shares(self, v: Cotangents) -> list[Tensor]:
        """All shares of ⟨v, g⟩ at once."""
        return [*([self.here(v)] if self.here else []), *(self.elsewhere(v) if self.elsewhere else ())]


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


class Engine(ABC):
    """How ⟨v, g⟩ becomes differentiable in the parameters. Concrete engines are frozen dataclasses: their settings are the object."""

    name: ClassVar[str]
    traits: ClassVar[Traits]

    def pass_options(self, model: nn.Module) -> PassOptions:
        """What is to be done around the runs of this model; made anew for each forward pass."""
        return PassOptions()

    @abstractmethod
    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        """The input gradient of ``score`` with respect to ``wrt``, and how it goes on to the parameters. Raises `EngineError` where it cannot."""

    def joint(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...], *, at_once: bool) -> Linearization | None:
        """As `linearize`, where a multiple of Σ_n s_n goes on to the parameters too; None where that is no cheaper together.

        at_once: the caller goes on to every leaf in one go, so that gradients known already may be handed out.
        """
        return None


def constant_gradient(forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
    """The input gradient as a constant: first order only, so every model serves and no engine is asked."""
    return Linearization(tuple(gradient.detach() for gradient in input_gradient(forward, score, wrt, create_graph=False)))
