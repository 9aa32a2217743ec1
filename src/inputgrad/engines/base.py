"""The waist of the library: what every engine gives, and what it needs of a model.

An engine sees a forward pass and a score; never a term.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from inputgrad.engines.distributed import unnoticed
from inputgrad.engines.forward import ForwardPass, Watch
from inputgrad.engines.gathered import recover, units
from inputgrad.engines.graph import leaves_of, reentrant
from inputgrad.engines.half import INPUTS, Rows, scaling
from inputgrad.errors import EngineError
from inputgrad.heads import Score
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

    def watch(self, model: nn.Module) -> Watch:
        """What is to be done around the runs of this model; made anew for each forward pass."""
        return Watch()

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


def input_gradient(
    forward: ForwardPass, score: Callable[[Tensor], Tensor], wrt: tuple[Key, ...], *, create_graph: bool, seed: Tensor | None = None
) -> tuple[Tensor, ...]:
    """g = ∂s/∂z for each variable z, by one backward pass for ``[N]`` scores and K for ``[N, K]``; the forward graph is kept.

    seed: a 0-d one from which the backward pass starts; where it requires grad, an operation that cuts the second derivative cannot hide at the very end
    of the model, where nothing else that arrives there requires grad.
    Raises `ValueError` where the scores do not depend on a variable.
    """
    here = forward.here()
    variables = [here.variables[key] for key in wrt]
    scores = score(here.output)
    if not scores.requires_grad:
        raise ValueError("the head's scores carry no graph: it must be computed from the output that it is given, without detach or no_grad")
    columns = [scores] if scores.dim() == 1 else list(scores.unbind(1))
    half = scaling(scores.device) and all(z.dtype is not torch.float16 for z in variables)

    def taken(scale: float) -> Rows:
        start = seed if scale == 1 else scores.new_tensor(scale) if seed is None else seed * scale
        with forward.input_gradient_phase():
            spend = [column is columns[-1] and not half for column in columns]
            return [
                _gradients(forward, column.sum(), variables, start, create_graph=create_graph, last=last) for column, last in zip(columns, spend, strict=True)
            ]

    rows = INPUTS.unscaled(forward.model, taken) if half else taken(1)
    for key, *parts in zip(wrt, *rows, strict=True):
        if all(part is None for part in parts):
            raise ValueError(
                f"the output does not depend on wrt={key!r}: no path leads from it to the scores. Choose another input "
                "with wrt=, or look for detach, no_grad, argmax or item in the model"
            )
    filled = [[torch.zeros_like(z) if part is None else part for part, z in zip(row, variables, strict=True)] for row in rows]
    if scores.dim() == 1:
        return tuple(filled[0])
    return tuple(torch.stack(parts, dim=1) for parts in zip(*filled, strict=True))


def _gradients(forward: ForwardPass, total: Tensor, variables: list[Tensor], seed: Tensor | None, *, create_graph: bool, last: bool) -> Sequence[Tensor | None]:
    spent = forward.spendable and last and not reentrant([total])  # what raises half-way must still be there for the second attempt
    try:
        with unnoticed(forward.model):
            return torch.autograd.grad(total, variables, seed, retain_graph=not spent, create_graph=create_graph, allow_unused=True)
    except RuntimeError as error:
        if create_graph or "checkpoint" not in str(error):
            raise
        if units(forward.model):
            recover(forward.model)
            raise EngineError(
                f"{type(forward.model).__name__} is sharded by fully_shard and checkpoints in the re-entrant way, whose gradients do not come back to the "
                "shares here. Use checkpoint(..., use_reentrant=False)"
            ) from error
        forward.reentrant = True
        return _by_backward(total, variables, forward.model)


def _by_backward(total: Tensor, variables: list[Tensor], model: nn.Module) -> list[Tensor | None]:
    """The gradients by ``.backward()``, all that re-entrant checkpointing allows; what it leaves in the ``.grad`` of other leaves is taken back."""
    touched = {id(leaf): leaf for leaf in (*leaves_of([total]), *model.parameters(), *variables)}  # the region's parameters are not in the graph
    kept = [(leaf, leaf.grad) for leaf in touched.values()]
    for leaf, _ in kept:
        leaf.grad = None
    for variable in variables:
        variable.retain_grad()
    try:
        total.backward(retain_graph=True)
        return [variable.grad for variable in variables]
    finally:
        for leaf, gradient in kept:
            leaf.grad = gradient
