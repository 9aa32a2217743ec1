"""Passes at displaced inputs: what every engine that compares scores at x and beside it has in common.

Random draws, buffers and branch decisions are those of the pass at x (`replay`, `branches`); those of the score too (`FrozenBranches`).
"""

import math
from collections.abc import Mapping
from itertools import islice

import torch
from torch import Tensor

from inputgrad.devices import Reading, joint_length, length
from inputgrad.errors import EngineError, warn
from inputgrad.heads import Score
from inputgrad.memory import memory
from inputgrad.passes.branches.kernels import DecisionsInBackward
from inputgrad.passes.branches.tape import BranchTape, OtherControlFlowError, module_with_hidden_branches
from inputgrad.passes.changes import Change
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.second_derivative import Named, check_replay, signature
from inputgrad.torch_internals.autograd_graph import custom_functions, is_reentrant
from inputgrad.torch_internals.function_modes import body_for_modes
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import Key


class FrozenBranches(Score):
    """A score whose own branch decisions (the sign in an absolute error) are those that it took first."""

    def __init__(self, score: Score, tape: BranchTape | None = None) -> None:
        self.head = score.head
        self._score = score
        self._tape = tape or BranchTape()

    def __call__(self, output: Tensor) -> Tensor:
        with self._tape.run():
            return self._score(output)


def score_at_displacement(forward: ForwardPass, scored: FrozenBranches, v: Mapping[Key, Tensor], step: float, row: int | None = None) -> Tensor:
    """Σ_n s_n at z + step·v, 0-d, with the graph of its own pass; of one row where the head has several."""
    return sum_of_scores(scores_at_displacement(forward, scored, v, step), row)


def scores_at_displacement(forward: ForwardPass, scored: FrozenBranches, v: Mapping[Key, Tensor], step: float) -> Tensor:
    """s_n at z + step·v, ``[N]`` or ``[N, K]``, with the graph of its own pass.

    A model may ask whether its input requires grad, as one that differentiates inside does; then it is given one that does, as in the pass at z.
    """
    known = memory(forward.model).checked
    forward.placement.forget_casts()
    try:
        return scored(forward.run(_shifts(forward, v, step, opens=_OPEN in known)).output)
    except OtherControlFlowError:
        if _OPEN in known or not torch.is_grad_enabled():
            raise
    known.add(_OPEN)
    return scored(forward.run(_shifts(forward, v, step, opens=True)).output)


_OPEN = "displaced inputs require grad"


def _shifts(forward: ForwardPass, v: Mapping[Key, Tensor], step: float, *, opens: bool) -> dict[Key, Change]:
    def shifted(part: Tensor) -> Change:
        def change(z: Tensor) -> Tensor:
            found = z + step * part
            if opens and not found.requires_grad:
                forward.own_leaves.append(found.requires_grad_())
            return found

        return change

    return {key: shifted(part) for key, part in v.items()}


def sum_of_scores(scores: Tensor, row: int | None = None) -> Tensor:
    """Σ_n s_n, or that of one row of a head of several."""
    return (scores if row is None else scores[:, row]).sum()


def input_norm(variables: list[Tensor]) -> float:
    """The norm of what is finite in the inputs: infinities and NaN, such as those of a mask, are as they are at every displacement."""
    return joint_length(_finite(variables))


class Norms(Reading):
    """`input_norm`, and the joint norm of each row of directions."""

    def __init__(self, variables: list[Tensor], rows: list[list[Tensor]]) -> None:
        together = [_finite(variables), *rows]
        self.numel = sum(z.numel() for z in variables)
        """How many numbers the inputs have."""
        self._counts = [len(tensors) for tensors in together]
        super().__init__([length(tensor) for tensors in together for tensor in tensors])

    def of_inputs_and_rows(self) -> tuple[float, list[float]]:
        """Both as numbers."""
        found = iter(self.numbers())
        size, *lengths = [math.hypot(*islice(found, count)) for count in self._counts]
        return size, lengths


def _finite(variables: list[Tensor]) -> list[Tensor]:
    return [torch.where(z.isfinite(), z, 0) for z in variables]


def check_run_again(engine: Named, forward: ForwardPass, score: Score, *, strict: bool) -> None:
    """Record the decisions of the pass at x; the first time that the model is met, see whether a replay is one, and whether it misses a decision.

    strict: raise `EngineError` where branch decisions cannot be replayed, where otherwise one warning says so.
    """
    forward.record_branches()
    known, key = memory(forward.model).measured, ("deciding kernel", signature(engine, forward, score))
    if (at := ("deciding backward", key)) not in known and not is_tracing():
        known[at] = _decided_in_backward(forward, score)
    kernels = forward.deciding_kernels()
    try:
        check_replay(engine, forward, score, kernels)
    except NotImplementedError:  # torch 2.6: no operation that takes functions, such as flex_attention, runs under a mode
        kernels = None
        check_replay(engine, forward, score)
    if kernels is not None and key not in known and not is_tracing():
        known[key] = kernels.noted
    hidden = module_with_hidden_branches(forward.model) or forward.unseen_branches or known.get(key)
    if hidden is None and not strict:  # else what such decisions cost is measured
        hidden = known.get(at)
    if hidden is None:
        return
    told = (
        f"engine '{engine.name}': the branch decisions inside {hidden} cannot be replayed. If it holds ReLU-like units or max-pools, the gradient "
        "of the terms may be wrong by more than its own size; with smooth activations it is right"
    )
    if strict:
        raise EngineError(told)
    if memory(forward.model).once("hidden branches"):
        warn(told)


def _decided_in_backward(forward: ForwardPass, score: Score) -> str | None:
    """Where the backward pass at x takes decisions of its own, in words: a displaced one would take others."""
    if forward.placement.is_sharded or forward.placement.is_fsdp or forward.placement.is_fsdp1:
        return None
    here = forward.primal()
    scores = score(here.output)
    if not scores.requires_grad or is_reentrant([scores]) or not custom_functions([scores]):
        return None
    total, noting = scores.sum(), DecisionsInBackward()
    with noting, forward.placement.unnoticed_backward():
        body_for_modes(torch.autograd.grad)(total, list(here.variables.values()), retain_graph=True, allow_unused=True)
    return noting.noted
