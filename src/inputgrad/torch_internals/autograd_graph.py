"""The graph that autograd has made: its nodes, its leaves, and the private names by which torch calls some nodes.

Nodes are recognised by name. One that torch renames is not recognised any more, which no code can notice: the canaries do.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.torch_internals import messages
from inputgrad.torch_internals.required import Required

_WITHOUT_DERIVATIVE = ("torch::autograd::NotImplemented", "torch::autograd::Error", "torch::autograd::DelayedError")


def leaves_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The leaves of the tensors' graph, each once; a tensor that is a leaf itself among them. Read in torch 2.6 to 2.15."""
    tensors = list(tensors)
    variables = [*(getattr(node, "variable", None) for node in nodes_of(tensors)), *(tensor for tensor in tensors if tensor.is_leaf and tensor.requires_grad)]
    return list({id(variable): variable for variable in variables if variable is not None}.values())


def nodes_of(tensors: Iterable[Tensor]) -> set[Any]:
    """All nodes of the tensors' graph. Read in torch 2.6 to 2.15."""
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen = set(waiting)
    for node in waiting:  # which grows; in one loop, for it is asked at each step of some terms
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return seen


def dtypes_between(outputs: Iterable[Tensor], variables: Iterable[Tensor]) -> set[torch.dtype]:
    """The types in which the outputs were computed from the variables; what leads to parameters alone is left out.

    Read in torch 2.6 to 2.15. Missing: the types of the outputs and the variables themselves.
    """
    outputs, variables = list(outputs), list(variables)
    ends = {_node_of(variable) for variable in variables}
    found = {tensor.dtype for tensor in (*outputs, *variables)}
    for node in _leading_to(ends, [tensor.grad_fn for tensor in outputs]):
        found |= {metadata.dtype for metadata in getattr(node, "_input_metadata", ())}
    return found


def numbers_for_alone(outputs: Iterable[Tensor], variables: Iterable[Tensor]) -> int:
    """How many numbers a backward pass of the outputs computes for the sake of these leaves alone, other leaves aside.

    Read in torch 2.6 to 2.15. Missing: 0.
    """
    outputs = list(outputs)
    starts = [tensor.grad_fn for tensor in outputs]
    ends = {_node_of(variable) for variable in variables}
    others = {node for node in nodes_of(outputs) if is_leaf_node(node)} - ends
    alone = _leading_to(ends, starts) - _leading_to(others, starts)
    return sum(math.prod(metadata.shape) for node in alone for metadata in getattr(node, "_input_metadata", ()))


def _node_of(tensor: Tensor) -> Any:
    """The node at which a tensor enters the graph: what made it, or what collects the gradient of a leaf."""
    if tensor.grad_fn is not None or not tensor.requires_grad:
        return tensor.grad_fn
    user: Any = tensor.expand_as(tensor).grad_fn
    return user.next_functions[0][0]


def _leading_to(ends: set[Any], starts: Iterable[Any]) -> set[Any]:
    """The nodes below ``starts`` from which a way leads to one of ``ends``, the ends left out."""
    users: dict[Any, set[Any]] = {}
    waiting, seen = [node for node in starts if node is not None], set(starts)
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is None:
                continue
            users.setdefault(following, set()).add(node)
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    leading, waiting = set[Any](), [end for end in ends if end in seen]
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in leading and user not in ends:
                leading.add(user)
                waiting.append(user)
    return leading


def custom_functions(tensors: Iterable[Tensor]) -> list[str]:
    """The names of the ``torch.autograd.Function`` of others that the graph holds.

    Read in torch 2.6 to 2.15. Missing (the node does not know its Function): the library's own are named too.
    """
    kinds = {type(node) for node in nodes_of(tensors) if isinstance(node, torch.autograd.function.BackwardCFunction)}
    others = (kind for kind in kinds if not getattr(kind, "_forward_cls", kind).__module__.startswith("inputgrad."))
    return sorted({kind.__name__.removesuffix("Backward") for kind in others})


def in_custom_backward() -> bool:
    """Whether the backward of a ``torch.autograd.Function`` runs. Read in torch 2.6 to 2.15. Missing: False, and what it detaches counts as a constant."""
    try:
        return isinstance(torch._C._current_autograd_node(), torch.autograd.function.BackwardCFunction)
    except AttributeError:
        return False


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


@dataclass(frozen=True)
class SavedNormalisation:
    """What the node of a normalisation's first derivative has saved. shape: of a layer normalisation; None: each channel over the batch.

    Read in torch 2.6 to 2.15.
    """

    input: Tensor
    weight: Tensor | None
    inverse_deviation: Tensor
    shape: tuple[int, ...] | None


def nodes_of_statistics(tensors: Iterable[Tensor]) -> list[Any]:
    """The nodes of the tensors' graph that `saves_statistics` names. Read in torch 2.6 to 2.15."""
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen, found = set(waiting), []
    for node in waiting:  # which grows; as in `nodes_of`
        known = _SAVES_STATISTICS.get(type(node))
        if known or (known is None and saves_statistics(node)):
            found.append(node)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return found


def saves_statistics(node: Any) -> bool:
    """Whether it belongs to a layer or batch normalisation (instance normalisation is one of these), on any device. Read in torch 2.6 to 2.15."""
    kind = type(node)
    if (known := _SAVES_STATISTICS.get(kind)) is not None:
        return known
    name = node.name()
    found = "LayerNorm" in name or "BatchNorm" in name
    if kind.__base__ is object and name.rpartition("::")[2] == kind.__name__:  # a class of torch's own for this one operation
        _SAVES_STATISTICS[kind] = found
    return found


_SAVES_STATISTICS: dict[type, bool] = {}
"""For classes of nodes whether they do, since it is asked of each node at each step."""


def saved_normalisation(gradient: Tensor | None) -> SavedNormalisation | None:
    """Read from the first derivative of a layer normalisation, or of a batch normalisation in training mode; None for any other tensor.

    Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    node: Any = None if gradient is None else gradient.grad_fn
    if node is None or not saves_statistics(node) or not getattr(node, "_saved_train", getattr(node, "_saved_update", True)):
        return None
    with _STATISTICS:
        inverse_deviation = getattr(node, next((name for name in _INVERSE_DEVIATION if hasattr(node, name)), _INVERSE_DEVIATION[0]))
        shape = getattr(node, "_saved_normalized_shape", None)
        return SavedNormalisation(node._saved_input, node._saved_weight, inverse_deviation, None if shape is None else tuple(shape))


_STATISTICS = Required("the saved statistics of a normalisation", "a third derivative through layer or batch normalisation")
_INVERSE_DEVIATION = ("_saved_rstd", "_saved_save_invstd", "_saved_save_var")


def is_reentrant(tensors: Iterable[Tensor]) -> bool:
    """Whether the graph holds a region that is checkpointed in the re-entrant way. Read in torch 2.6 to 2.15."""
    return any(node.name() == "CheckpointFunctionBackward" for node in nodes_of(tensors))


def was_freed(tensor: Tensor) -> bool:
    """Whether an earlier backward pass freed what the graph of a tensor keeps, so that another one cannot. Read in torch 2.6 to 2.15."""
    try:
        for node in nodes_of([tensor]):
            for name in dir(node):
                if name.startswith("_saved_"):
                    getattr(node, name)  # raises where it is gone
    except RuntimeError as error:
        if messages.is_machine_error(error):
            raise
        return "second time" in str(error)
    return False
