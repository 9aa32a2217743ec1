"""Reads autograd's graph off its nodes and their shapes alone: no saved tensor is unpacked, so no hook of the user's runs. Knows no probe."""

import functools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from inputgrad.audit import torch_internals
from inputgrad.audit.observations.gradient_calls import GraphBehind


def look(roots: Iterable[Tensor], inputs: Iterable[Tensor], *, kept: bool, nodes: Sequence[Any] | None = None) -> GraphBehind:
    """What lies between the roots and the inputs. kept: whether the graph is kept, so that its nodes count; nodes: those between, where they are known."""
    roots, variables = list(roots), [value for value in inputs if isinstance(value, Tensor)]
    ends = {value.grad_fn for value in variables}
    between_them = walked(_nodes(roots), ends) if nodes is None else nodes
    takers = _given(between_them, variables) | ends - {None}
    obstacles, half, batch_norm, hooked, reached, entries = set[str](), _half((*roots, *variables)), False, False, set[int](), set[int]()
    for node in between_them:
        kind = _kind(node.__class__, node.name())
        if kind.leaf:
            reached.add(id(torch_internals.leaf_of(node)))
            continue
        if takers and any(following in takers for following, _ in node.next_functions):
            entries.add(torch_internals.node_number(node))
        obstacles |= kind.obstacles
        hooked = hooked or kind.hook
        if kind.batch_norm:  # instance norm is one sample of N x C to torch
            types = torch_internals.gradient_types(node)
            batch_norm = batch_norm or (torch_internals.is_training_batch_norm(node) and bool(types) and types[0].shape[0] > 1)
        if kind.casts and not half:
            half = any(item.dtype == torch.float16 for item in torch_internals.gradient_types(node))
    count = 0 if not kept else len(between_them) if nodes is not None else len(walked(_nodes(roots)))
    return GraphBehind(half, frozenset(obstacles), count, batch_norm, hooked=hooked, reaches=frozenset(reached), entries=frozenset(entries))


def _given(nodes: Iterable[Any], variables: list[Tensor]) -> set[Any]:
    """The nodes that stand for these variables, where they are leaves."""
    leaves = {id(value) for value in variables if value.is_leaf}
    return {node for node in nodes if _kind(node.__class__, node.name()).leaf and id(torch_internals.leaf_of(node)) in leaves} if leaves else set()


class _Kind(NamedTuple):
    """What the name of a node says of it."""

    leaf: bool
    obstacles: frozenset[str]
    hook: bool
    batch_norm: bool
    casts: bool
    """Whether its values may have another precision than those that come to it."""


@functools.lru_cache(maxsize=4096)
def _kind(node: Hashable, name: str) -> _Kind:
    """node: its type."""
    parts = (kind for part, kind in torch_internals.OBSTACLE_NODES.items() if part in name)
    function = torch_internals.once_differentiable_function_of(node)
    own = frozenset() if function is None else frozenset({f"once:{function}"})
    found = next((frozenset({kind}) for kind in parts), own)
    casts = torch_internals.is_of_function(node) or "Copy" in name
    is_leaf = name.endswith("AccumulateGrad")
    return _Kind(is_leaf, found, name.startswith(torch_internals.HOOK_NODE), torch_internals.is_batch_norm_name(name), casts)


def _half(values: Iterable[Tensor]) -> bool:
    return any(value.dtype == torch.float16 for value in values)


def summed_along_ones(root: Tensor, direction: Any) -> int | None:
    """C, where the direction is ones for C outputs per sample: a gradient along ones is the gradient of the sum of the outputs."""
    ones = isinstance(direction, Tensor) and direction.shape == root.shape and root.dim() == 2 and root.shape[1] > 1 and bool((direction == 1).all())
    return root.shape[1] if ones else None


def apart(roots: Iterable[Tensor], variable: Tensor) -> bool:
    """Whether the variable is not in the graph behind the roots."""
    roots = list(roots)
    return all(root is not variable for root in roots) and all(
        node is not variable.grad_fn and torch_internals.leaf_of(node) is not variable for node in walked(_nodes(roots))
    )


def past(roots: Iterable[Tensor], ends: Iterable[Any]) -> bool:
    """Whether a parameter is reached from the roots without passing one of these nodes."""
    return any(isinstance(torch_internals.leaf_of(node), torch.nn.Parameter) for node in walked(_nodes(roots), ends))


def passes_layers_by(root: Tensor, edge: GradientEdge | None) -> bool:
    """Whether a way leads from the root to this place in the graph that goes through no weight of a layer."""
    seen: set[Any] = {None}
    waiting: list[Any] = [root.grad_fn] if edge is not None else []
    while waiting:
        node = waiting.pop()
        if edge is not None and node is edge.node:
            return True
        if node not in seen:
            seen.add(node)
            waiting += [] if _is_layer(node) else [following for following, _ in node.next_functions]
    return False


def _is_layer(node: Any) -> bool:
    """Whether an operation takes a parameter of two or more dimensions, as it is or transposed."""
    ways = [following for following, _ in node.next_functions if following is not None]
    ways += [further for following in ways if following.name().startswith("T") for further, _ in following.next_functions]
    return any(isinstance(leaf := torch_internals.leaf_of(way), torch.nn.Parameter) and leaf.dim() > 1 for way in ways)


def behind(node: Any) -> list[Any]:
    """The nodes of the graph behind a node, and that one."""
    return walked([node])


def leaves(node: Any) -> list[Tensor]:
    """The leaves of the graph behind a node."""
    return leaves_among(walked([node]))


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


def walked(tops: Iterable[Any], ends: Iterable[Any] = ()) -> list[Any]:
    """The nodes from the tops down to the ends, which are left out, each once."""
    seen: set[Any] = {None, *ends}
    waiting, found = list(tops), []
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            found.append(node)
            waiting += [following for following, _ in node.next_functions if following not in seen]
    return found


def _nodes(roots: Iterable[Tensor]) -> Iterator[Any]:
    return (root.grad_fn for root in roots)
