"""The graph that autograd has made: its nodes and its leaves. Knows autograd alone."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def leaves_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The leaves of the tensors' graph, each once; a tensor that is a leaf itself among them."""
    tensors = list(tensors)
    variables = [*(getattr(node, "variable", None) for node in nodes_of(tensors)), *(tensor for tensor in tensors if tensor.is_leaf and tensor.requires_grad)]
    return list({id(variable): variable for variable in variables if variable is not None}.values())


def nodes_of(tensors: Iterable[Tensor]) -> set[Any]:
    """All nodes of the tensors' graph."""
    seen: set[Any] = set()
    waiting = [tensor.grad_fn for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return seen


def reentrant(tensors: Iterable[Tensor]) -> bool:
    """Whether the graph holds a region that is checkpointed in the re-entrant way."""
    return any(node.name() == "CheckpointFunctionBackward" for node in nodes_of(tensors))
