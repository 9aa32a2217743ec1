"""What the graph behind a call shows, read off its nodes and their shapes alone: no saved tensor is unpacked, so no hook of the user's runs."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from inputgrad.audit.facts import GradientCall, Source


def look(call: GradientCall, roots: Any, inputs: Any = ()) -> None:
    """Enter in the call what lies between its roots and the inputs."""
    tensors = [value for value in _listed(roots) if isinstance(value, Tensor)]
    ends = {value.grad_fn for value in _listed(inputs) if isinstance(value, Tensor)}
    obstacles = set()
    for node in _between((root.grad_fn for root in tensors), ends):
        obstacles |= _obstacle(node)
        found = node._input_metadata or ()
        if "BatchNorm" in node.name() and _training(node) and found and found[0].shape[0] > 1:  # instance norm: one sample of N x C
            call.batch_norm_training = True
        call.half = call.half or any(item.dtype == torch.float16 for item in found)
    call.obstacles = frozenset(obstacles)
    call.nodes = len(list(_between((root.grad_fn for root in tensors), set()))) if call.retain_graph else 0
    if tensors:
        call.values, call.values_by = _values(tensors[0])


def ones(call: GradientCall, root: Tensor, direction: Any) -> None:
    """A gradient along ones is the gradient of the sum of the outputs."""
    direction = next(iter(_listed(direction)), None)
    if isinstance(direction, Tensor) and direction.shape == root.shape and root.dim() == 2 and root.shape[1] > 1 and bool((direction == 1).all()):
        call.summed_outputs = root.shape[1]


def norms(source: Source, gradient: Tensor) -> None:
    """The gradient's norm as a whole, the mean of its samples' norms, and of the norms over its channels."""
    wide = gradient.detach()
    if not (wide.is_floating_point() and wide.dim() and wide.numel()):
        return
    wide = wide.float() if wide.dtype in (torch.float16, torch.bfloat16) else wide
    source.norm = float(wide.norm())
    source.row_norm = float(wide.reshape(wide.shape[0], -1).norm(dim=1).mean())
    sizes = wide.abs()
    source.smallest = float(torch.where(sizes > 0, sizes, torch.inf).min())
    source.channel_norm = float(wide.norm(dim=1).mean()) if wide.dim() > 2 else source.row_norm


def span(value: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest value."""
    if not value.is_floating_point() or not value.numel():
        return None
    low, high = value.detach().aminmax()
    return float(low), float(high)


def apart(roots: Any, variable: Tensor) -> bool:
    """Whether the variable is not in the graph behind the roots."""
    nodes = list(_between((root.grad_fn for root in _listed(roots)), set()))
    return all(node is not variable.grad_fn and getattr(node, "variable", None) is not variable for node in nodes) and all(
        root is not variable for root in _listed(roots)
    )


def past(roots: Iterable[Tensor], ends: Iterable[Any]) -> bool:
    """Whether a parameter is reached from the roots without passing one of these nodes."""
    return any(isinstance(getattr(node, "variable", None), torch.nn.Parameter) for node in _between((root.grad_fn for root in roots), set(ends)))


def behind(node: Any) -> list[Any]:
    """The nodes of the graph behind a node, and that one."""
    return list(_between([node], set()))


def _training(node: Any) -> bool:
    """Of the forward's node, or of the first backward's."""
    return bool(getattr(node, "_saved_training", getattr(node, "_saved_train", True)))


def _obstacle(node: Any) -> set[str]:
    """What may have no second derivative."""
    name = node.name()
    for sign, kind in (("ScaledDotProduct", "attention"), ("CompiledFunction", "compiled"), ("CheckpointFunction", "checkpoint")):
        if sign in name:
            return {kind}
    function = getattr(type(node), "_forward_cls", None)
    code = getattr(getattr(function, "backward", None), "__code__", None)  # the decorator's own, where the Function may be differentiated once
    return {f"once:{function.__name__}"} if function is not None and code is not None and code.co_filename == torch.autograd.function.__file__ else set()


def leaves(node: Any) -> list[Tensor]:
    """The leaves of the graph behind a node."""
    return [found.variable for found in _between([node], set()) if hasattr(found, "variable")]


def _values(root: Tensor) -> tuple[tuple[int, ...], str]:
    """The shape of what was summed or averaged into the root, and the node that made it; the root's own where it is no such sum."""
    edge, shape = summands(root)
    return shape, edge.node.name() if edge is not None else ""


def summands(root: Tensor) -> tuple[GradientEdge | None, tuple[int, ...]]:
    """Where in the graph the values stand that were summed or averaged into the root, and their shape."""
    node, output, shape = root.grad_fn, root.output_nr, tuple(root.shape)
    while node is not None and node.name().startswith(("Neg", "Sum", "Mean")):
        saved = getattr(node, "_saved_self_sym_sizes", None)
        shape = tuple(int(size) for size in saved) if saved is not None and not node.name().startswith("Neg") else shape
        node, output = node.next_functions[0]
    return (GradientEdge(node, output) if node is not None else None), shape


def _between(tops: Iterable[Any], ends: set[Any]) -> Iterator[Any]:
    seen: set[Any] = {None, *ends}
    waiting = list(tops)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(following for following, _ in node.next_functions)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, Tensor) else list(value)
