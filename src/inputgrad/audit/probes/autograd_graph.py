"""Reads autograd's graph off its nodes and their shapes alone: no saved tensor is unpacked, so no hook of the user's runs. Knows no probe."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from inputgrad.audit import torch_internals
from inputgrad.audit.observations.gradient_calls import GraphBehind


def look(roots: Iterable[Tensor], inputs: Iterable[Tensor], *, kept: bool) -> GraphBehind:
    """What lies between the roots and the inputs. kept: whether the graph is kept, so that its nodes count."""
    roots, variables = list(roots), [value for value in inputs if isinstance(value, Tensor)]
    obstacles, half, batch_norm, hooked, reached, entries = set[str](), False, False, False, set[int](), set[int]()
    for node in between(_nodes(roots), {value.grad_fn for value in variables}):
        if (leaf := torch_internals.leaf_of(node)) is not None:
            reached.add(id(leaf))
        elif _takes(node, variables):
            entries.add(torch_internals.node_number(node))
        obstacles |= _obstacle(node)
        hooked = hooked or node.name().startswith(torch_internals.HOOK_NODE)
        types = torch_internals.gradient_types(node)
        # instance norm is one sample of N x C to torch
        batch_norm = batch_norm or (torch_internals.is_training_batch_norm(node) and bool(types) and types[0].shape[0] > 1)
        half = half or any(item.dtype == torch.float16 for item in types)
    nodes = sum(1 for _ in between(_nodes(roots))) if kept else 0
    return GraphBehind(half, frozenset(obstacles), nodes, batch_norm, hooked=hooked, reaches=frozenset(reached), entries=frozenset(entries))


def _takes(node: Any, variables: list[Tensor]) -> bool:
    """Whether a node takes one of these tensors."""
    return any(
        following is not None and any(following is value.grad_fn or torch_internals.leaf_of(following) is value for value in variables)
        for following, _ in node.next_functions
    )


def summed_along_ones(root: Tensor, direction: Any) -> int | None:
    """C, where the direction is ones for C outputs per sample: a gradient along ones is the gradient of the sum of the outputs."""
    ones = isinstance(direction, Tensor) and direction.shape == root.shape and root.dim() == 2 and root.shape[1] > 1 and bool((direction == 1).all())
    return root.shape[1] if ones else None


def apart(roots: Iterable[Tensor], variable: Tensor) -> bool:
    """Whether the variable is not in the graph behind the roots."""
    roots = list(roots)
    return all(root is not variable for root in roots) and all(
        node is not variable.grad_fn and torch_internals.leaf_of(node) is not variable for node in between(_nodes(roots))
    )


def past(roots: Iterable[Tensor], ends: Iterable[Any]) -> bool:
    """Whether a parameter is reached from the roots without passing one of these nodes."""
    return any(isinstance(torch_internals.leaf_of(node), torch.nn.Parameter) for node in between(_nodes(roots), ends))


def passes_layers_by(root: Tensor, edge: GradientEdge | None) -> bool:
    """Whether a way leads from the root to this place in the graph that goes through no weight of a layer."""
    return edge is not None and any(node is edge.node for node in between([root.grad_fn], goes_on=lambda node: not _is_layer(node)))


def _is_layer(node: Any) -> bool:
    """Whether an operation takes a parameter of two or more dimensions, as it is or transposed."""
    ways = [following for following, _ in node.next_functions if following is not None]
    ways += [further for following in ways if following.name().startswith("T") for further, _ in following.next_functions]
    return any(isinstance(leaf := torch_internals.leaf_of(way), torch.nn.Parameter) and leaf.dim() > 1 for way in ways)


def behind(node: Any) -> list[Any]:
    """The nodes of the graph behind a node, and that one."""
    return list(between([node]))


def leaves(node: Any) -> list[Tensor]:
    """The leaves of the graph behind a node."""
    return leaves_among(between([node]))


def leaves_among(nodes: Iterable[Any]) -> list[Tensor]:
    """The leaves that these nodes put their gradients in."""
    return [leaf for node in nodes if (leaf := torch_internals.leaf_of(node)) is not None]


def summands(root: Tensor) -> tuple[GradientEdge | None, tuple[int, ...]]:
    """Where in the graph the values stand that were summed or averaged into the root, and their shape; the root's own where it is no such sum."""
    node, output, shape = root.grad_fn, root.output_nr, tuple(root.shape)
    while node is not None and node.name().startswith(torch_internals.SUM_NODES):
        summed = torch_internals.summed_shape(node)
        shape = shape if summed is None else summed
        node, output = node.next_functions[0]
    return (GradientEdge(node, output) if node is not None else None), shape


def between(tops: Iterable[Any], ends: Iterable[Any] = (), goes_on: Callable[[Any], bool] = lambda _: True) -> Iterator[Any]:
    """The nodes from the tops down to the ends, which are left out, each once. goes_on: whether what lies behind a node is wanted too."""
    seen: set[Any] = {None, *ends}
    waiting = list(tops)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        if goes_on(node):
            waiting.extend(following for following, _ in node.next_functions)


def _nodes(roots: Iterable[Tensor]) -> Iterator[Any]:
    return (root.grad_fn for root in roots)


def _obstacle(node: Any) -> set[str]:
    """What may have no second derivative."""
    for part, kind in torch_internals.OBSTACLE_NODES.items():
        if part in node.name():
            return {kind}
    function = torch_internals.once_differentiable_function(node)
    return set() if function is None else {f"once:{function}"}
