"""The input gradient of a plain step: one backward pass for each row of scores, or one for all. Must not know terms and engines."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives import BackwardTarget
from inputgrad.heads import Head, Score
from inputgrad.passes.batched_rows import batched_rows
from inputgrad.passes.kept import UnforeseenError
from inputgrad.passes.returned import Returned
from inputgrad.step.plain_form import PlainForm
from inputgrad.torch_internals.autograd import gradient_from

Gradient = tuple[Tensor, ...]


def input_gradient(
    form: PlainForm, phase: BackwardTarget, head: Head, returned: Returned, target: Any, variables: Sequence[Tensor], *, create_graph: bool
) -> Gradient:
    """∂s/∂z ``[N, ...]`` for each variable z, ``[N, K, ...]`` for a head of K rows.

    phase: what our own derivatives look at. returned: what the model gave of these variables; target: that of its samples.
    """
    head, output = returned.of(head, target)
    if head.adds_all:
        return _row(form, phase, output, variables, create_graph=create_graph)
    scores = Score(head, output, target)(output)
    if scores.dim() == 1:
        return _row(form, phase, scores, variables, create_graph=create_graph)
    if scores.shape[1] == 1:
        return tuple([part.unsqueeze(1) for part in _row(form, phase, scores, variables, create_graph=create_graph)])
    batched = None if not scores.requires_grad else batched_rows(scores, variables, create_graph=create_graph)
    if batched is not None and all(part is not None for part in batched):
        return tuple(part.movedim(0, 1) for part in batched if part is not None)
    rows = [_row(form, phase, column, variables, create_graph=create_graph) for column in scores.unbind(1)]
    return tuple(torch.stack(parts, 1) for parts in zip(*rows, strict=True))


def constant_gradient(form: PlainForm, head: Head, returned: Returned, target: Any, variable: Tensor) -> Tensor:
    """∂s/∂z ``[N, ...]``, without a graph, of what the model gave of a variable for this alone. Raises `UnforeseenError` for a head of several rows."""
    head, output = returned.of(head, target)
    scores = output if head.adds_all else Score(head, output, target)(output)
    if scores.dim() != 1 and not head.adds_all:
        raise UnforeseenError
    if not scores.requires_grad:
        return torch.zeros_like(variable)
    (found,) = gradient_from(scores, form.ones(scores), [variable], create_graph=False, keep_graph=False)
    return torch.zeros_like(variable) if found is None else found


def _row(form: PlainForm, phase: BackwardTarget, scores: Tensor, variables: Sequence[Tensor], *, create_graph: bool) -> Gradient:
    """∂ Σ scores / ∂z for each variable z."""
    if not scores.requires_grad:  # a batch without a path from input to output, such as isolated atoms, of a model that is known to have one
        return tuple(torch.zeros_like(z, requires_grad=create_graph) for z in variables)
    phase.only_input = True  # on one process there is no more to `BackwardTarget.input_gradient`
    try:
        found = gradient_from(scores, form.ones(scores), variables, create_graph=create_graph)
    finally:
        phase.only_input = False
    if len(found) == 1 and (only := found[0]) is not None:
        return (only,)
    return tuple([torch.zeros_like(z, requires_grad=create_graph) if part is None else part for part, z in zip(found, variables, strict=True)])
