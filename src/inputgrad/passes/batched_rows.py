"""The gradients of several scores in one batched backward pass (``is_grads_batched``), where nothing in the graph stands against it.

Must not know models: the graph alone decides, and what torch says when it is tried.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autograd_graph import nodes_of
from inputgrad.torch_internals.functorch import is_transforming
from inputgrad.torch_internals.tracing import is_tracing

LEAST = 3
"""From how many rows on."""

_SLOW = "performance drop"
"""What torch warns of where an operation's backward pass runs row by row after all."""


def batched_rows(scores: Tensor, variables: Sequence[Tensor], *, create_graph: bool) -> list[Tensor | None] | None:
    """∂ Σ_n s_nk / ∂z ``[K, *z]`` for each variable z, of scores ``[N, K]``; None where they are to be taken one after the other.

    None for few rows, for a graph with custom Functions, whose backward pass is Python that may look at numbers, and for what torch cannot batch.
    """
    if scores.dim() != 2 or scores.shape[1] < LEAST or is_tracing() or is_transforming() or any(map(_is_custom, nodes_of([scores]))):
        return None
    rows = torch.zeros(scores.shape[1], scores.shape[1], dtype=scores.dtype, device=scores.device)
    rows.diagonal().fill_(1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=f".*{_SLOW}.*")
            found = torch.autograd.grad(
                scores.sum(0), list(variables), rows, retain_graph=True, create_graph=create_graph, allow_unused=True, is_grads_batched=True
            )
    except (RuntimeError, UserWarning) as error:  # torch cannot batch an operation, or memory lacks for all rows at once, and may do for one
        if messages.is_device_error(error):
            raise
        return None
    return list(found)


def _is_custom(node: object) -> bool:
    return isinstance(node, torch.autograd.function.BackwardCFunction)
