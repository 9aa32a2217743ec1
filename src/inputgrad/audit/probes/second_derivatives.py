"""Measures second derivatives beside the user's own call: mixed ones among those that were asked for, and a Function whose backward leaves no graph.

The run itself is left as it is; knows no probe.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inputgrad.audit.observations.gradient_calls import GraphBehind, Request
from inputgrad.audit.probes import autograd_graph
from inputgrad.audit.torch_internals import own_function, without_torch_function

_COLUMNS = 16
"""Of more columns it is not measured: a pass for each."""
_OFF = 1e-3
"""So much, relative to it, a gradient may be off by rounding."""


def measured(graph: GraphBehind, root: Tensor, variables: list[Tensor], seed: Any, request: Request, first: list[Any]) -> GraphBehind:
    """The graph behind a call, with what is measured here. first: where in the graph the gradients stand that the root comes from."""
    with without_torch_function():
        off = mixed(root, variables[0], seed, first) if first and len(variables) == 1 else None
        name = cut_in(root, variables, seed) if request.create_graph else ""
    return replace(graph, mixed=off, cut_in=name)


def mixed(root: Tensor, variable: Tensor, seed: Any, first: list[Any]) -> float | None:
    """How far the gradient of all columns together is from each column's by its own variable, relative to these; None where it is not such a gradient."""
    values, ones = _columns(root, seed)
    if values is None or variable.dim() != 2 or values[1] != tuple(variable.shape) or not 1 < variable.shape[1] <= _COLUMNS or not ones:
        return None
    edge, shape = values
    if not any(edge.node is other.node and edge.output_nr == other.output_nr for other in first):
        return None  # along a direction, or of a field made of the gradient
    try:
        (together,) = torch.autograd.grad(root, variable, seed, retain_graph=True)
        parts = []
        for column in range(shape[1]):
            one = torch.zeros(shape, dtype=root.dtype, device=root.device)
            one[:, column] = 1
            (part,) = torch.autograd.grad([edge], [variable], [one], retain_graph=True)
            parts.append(part[:, column])
    except RuntimeError:
        return None
    own = torch.stack(parts, 1).double()
    size = float(own.norm())
    return float((together.double() - own).norm()) / size if size else None


def _columns(root: Tensor, seed: Any) -> tuple[tuple[Any, tuple[int, ...]] | None, bool]:
    """The edge and shape of what is summed, and whether it is a plain sum: a 0-d sum, or a gradient along ones."""
    if root.grad_fn is None:
        return None, False
    if root.dim():
        return (torch.autograd.graph.get_gradient_edge(root), tuple(root.shape)), isinstance(seed, Tensor) and bool((seed == 1).all())
    edge, shape = autograd_graph.summands(root)
    plain = root.grad_fn.name().startswith("Sum") and seed is None
    return (None if edge is None else (edge, shape)), plain


def cut_in(root: Tensor, variables: Sequence[Tensor], seed: Any) -> str:
    """The name of the user's own Function on the way whose backward is computed without a graph; "" where there is none.

    A gradient is linear in its seed: what its graph says of the seed gives it back. Where it does not, though the values themselves are linear, a part of the
    graph is missing.
    """
    nodes = autograd_graph.walked([root.grad_fn], {value.grad_fn for value in variables})
    names = dict.fromkeys(name for node in nodes if (name := own_function(node)) is not None)
    if not names:
        return ""
    try:
        with torch.enable_grad():
            first = (torch.ones_like(root) if seed is None else seed).detach().clone().requires_grad_(True)
            given = [item for item in _gradients(root, variables, first, graph=True) if item is not None]
            twice = [item for item in _gradients(root, variables, 2 * first.detach(), graph=False) if item is not None]
            weights = [_weights(item) for item in given]
            value = torch.stack([(item * weight).sum() for item, weight in zip(given, weights, strict=True)]).sum()
            slope = torch.autograd.grad(value, first, retain_graph=True, allow_unused=True)[0] if value.requires_grad else None
    except RuntimeError:
        return ""
    with torch.no_grad():
        doubled = sum(float((item * weight).sum()) for item, weight in zip(twice, weights, strict=True))
        size = sum(float((item * weight).abs().sum()) for item, weight in zip(given, weights, strict=True))
        back = 0.0 if slope is None else float((slope * first).sum())
        once = float(value.detach())
    linear = abs(doubled - 2 * once) <= _OFF * size
    return ", ".join(names) if size and linear and abs(back - once) > _OFF * size else ""


def _gradients(root: Tensor, variables: Sequence[Tensor], seed: Tensor, *, graph: bool) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(root, list(variables), seed, create_graph=graph, retain_graph=True, allow_unused=True)


def _weights(value: Tensor) -> Tensor:
    """Numbers without a pattern and without a random draw: the user's own draws stay what they are."""
    count = torch.arange(value.numel(), dtype=torch.float64, device=value.device)
    return (1.5 + torch.sin(12.9898 * count)).to(value.dtype).reshape(value.shape)
