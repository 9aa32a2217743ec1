"""Passes at displaced inputs: what every engine that compares scores at x and beside it has in common.

Random draws, buffers and branch decisions are those of the pass at x (`replay`, `branches`); those of the score too (`Watched`).
"""

import weakref
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from inputgrad.distributed.fsdp import units
from inputgrad.errors import EngineError, warn
from inputgrad.heads import Score
from inputgrad.passes.branches.tape import Tape, unseen
from inputgrad.passes.forward_pass import Change, ForwardPass
from inputgrad.variables import Key

_WARNED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class Watched:
    """A score whose own branch decisions (the sign in an absolute error) are those that it took first."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._tape = Tape()

    def __call__(self, output: Tensor) -> Tensor:
        with self._tape.run():
            return self._score(output)


def displaced(forward: ForwardPass, scored: Watched, v: Mapping[Key, Tensor], step: float, row: int | None = None) -> Tensor:
    """Σ_n s_n at z + step·v, 0-d, with the graph of its own pass; of one row where the head has several."""
    changes: dict[Key, Change] = {key: _shifted(step, part) for key, part in v.items()}
    if units(forward.model):  # a cast of a parameter that an earlier pass made goes back after this pass has reduced its gradients: a step late
        torch.clear_autocast_cache()
    return total(scored(forward.run(changes).output), row)


def total(scores: Tensor, row: int | None = None) -> Tensor:
    """Σ_n s_n, or that of one row of a head of several."""
    return (scores if row is None else scores[:, row]).sum()


def norm(tensors: list[Tensor]) -> float:
    """The norm of all of them as one long vector."""
    return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())


def object_to_unseen(engine: str, forward: ForwardPass, *, strict: bool) -> None:
    """Say once a model, or by an error, where branch decisions cannot be replayed."""
    hidden = unseen(forward.model) or forward.unseen_branches
    if hidden is None or (forward.model in _WARNED and not strict):
        return
    told = (
        f"engine '{engine}': the branch decisions inside {hidden} cannot be replayed. If it holds ReLU-like units or max-pools, the gradient "
        "of the terms may be wrong by more than its own size; with smooth activations it is right"
    )
    if strict:
        raise EngineError(told)
    _WARNED.add(forward.model)
    warn(told)


def _shifted(step: float, v: Tensor) -> Change:
    return lambda z: z + step * v
