"""Reverse over forward: ⟨v, g⟩ is the forward-mode derivative of the score along v, and then one ordinary backward pass. Exact.

Nothing is differentiated backward twice, so it serves where a double backward raises for a reason of the machinery (compiled models, sharded parameters).
Needs a forward-mode derivative for every operation; fused attention has none. Slower than double backward: a rescue.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from inputgrad.derivatives.normalisation import PrimitiveNormalisation
from inputgrad.engines.base import Engine, Linearization, Traits, input_gradient
from inputgrad.engines.forward import Change, ForwardPass
from inputgrad.engines.proof import explained, prove
from inputgrad.heads import Score
from inputgrad.places import Key


@dataclass(frozen=True)
class ReverseOverForward(Engine):
    """⟨v, g⟩ = d/dt s(z + tv) at t = 0, by ``torch.func.jvp`` (Pearlmutter 1994, the R-operator, with respect to the input)."""

    name: ClassVar[str] = "reverse_over_forward"
    traits: ClassVar[Traits] = Traits(exact=True, needs="a forward-mode derivative for every operation of the model")

    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        gradient = tuple(part.detach() for part in input_gradient(forward, score, wrt, create_graph=False))

        def along(cotangents: tuple[Tensor, ...]) -> Tensor:
            if score(forward.here().output).dim() == 1:
                return _derivative(self, forward, score, dict(zip(wrt, cotangents, strict=True)))
            rows = range(cotangents[0].shape[1])
            return torch.stack([_derivative(self, forward, _row(score, k), dict(zip(wrt, (v[:, k] for v in cotangents), strict=True))) for k in rows]).sum()

        return Linearization(gradient, along)


def _derivative(engine: Engine, forward: ForwardPass, score: Score, v: dict[Key, Tensor]) -> Tensor:
    def displaced(*displacements: Tensor) -> Tensor:
        changes: dict[Key, Change] = {key: _added(shift) for key, shift in zip(v, displacements, strict=True)}
        return score(forward.run(changes).output).sum()

    directions = tuple(v.values())
    with explained(engine, forward, "forward and then backward"):
        with PrimitiveNormalisation():
            tangent: Tensor = torch.func.jvp(displaced, tuple(torch.zeros_like(part) for part in directions), directions)[1]
        prove(engine, forward, [tangent])
    return tangent


def _added(displacement: Tensor) -> Change:
    return lambda z: z + displacement


def _row(score: Score, row: int) -> Score:
    return lambda output: score(output)[:, row]
