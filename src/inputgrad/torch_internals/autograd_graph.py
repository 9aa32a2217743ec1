"""The graph that autograd has made: its nodes, its leaves, and the private names by which torch calls some nodes.

Nodes are recognised by name. One that torch renames is not recognised any more, which no code can notice: the canaries do.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

_WITHOUT_DERIVATIVE = ("torch::autograd::NotImplemented", "torch::autograd::Error", "torch::autograd::DelayedError")


def leaves_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The leaves of the tensors' graph, each once; a tensor that is a leaf itself among them. Read in torch 2.6 to 2.15."""
    tensors = list(tensors)
    variables = [*(getattr(node, "variable", None) for node in nodes_of(tensors)), *(tensor for tensor in tensors if tensor.is_leaf and tensor.requires_grad)]
    return list({id(variable): variable for variable in variables if variable is not None}.values())


def nodes_of(tensors: Iterable[Tensor]) -> set[Any]:
    """All nodes of the tensors' graph. Read in torch 2.6 to 2.15."""
    seen: set[Any] = set()
    waiting = [tensor.grad_fn for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return seen


def is_leaf_node(node: Any) -> bool:
    """Whether a gradient ends here, in the ``.grad`` of a leaf. Read in torch 2.6 to 2.15."""
    return node.name().endswith("AccumulateGrad")


def is_without_derivative(node: Any) -> bool:
    """Whether torch has put this node in the place of a derivative that it lacks. Read in torch 2.6 to 2.15."""
    return node.name() in _WITHOUT_DERIVATIVE


def is_once_differentiable(node: Any) -> bool:
    """Whether this node stands for the second derivative of a Function marked ``@once_differentiable``. Read in torch 2.6 to 2.15."""
    return node.name() in _WITHOUT_DERIVATIVE[1:]


def is_fused_attention(node: Any) -> bool:
    """Whether it belongs to a fused kernel of scaled dot-product attention. Read in torch 2.6 to 2.15."""
    return "ScaledDotProduct" in node.name()


def is_from_local(node: Any) -> bool:
    """Whether it is torch's own ``DTensor.from_local``, whose backward pass cuts off the second derivative. Read in torch 2.6 to 2.15."""
    return node.name() == "_FromTorchTensorBackward"


def is_reentrant(tensors: Iterable[Tensor]) -> bool:
    """Whether the graph holds a region that is checkpointed in the re-entrant way. Read in torch 2.6 to 2.15."""
    return any(node.name() == "CheckpointFunctionBackward" for node in nodes_of(tensors))
