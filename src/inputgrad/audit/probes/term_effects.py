"""Measures what a term does, by asking autograd beside the user's own backward pass. The run itself is left as it is; knows no probe."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.audit.probes.autograd_graph import summands


def effect(root: Tensor, edge: Any, parameters: Sequence[Tensor]) -> tuple[float | None, float | None]:
    """‖∂root/∂θ‖ through the input gradient alone, and ‖∂root/∂g‖; None where autograd refuses. edge: of the input gradient in the graph."""
    try:
        (pull,) = torch.autograd.grad(root.sum(), edge, retain_graph=True, allow_unused=True)
        if pull is None or not parameters:
            return None, None
        parts = torch.autograd.grad(edge, list(parameters), pull, retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None, None
    square = sum(float(part.detach().double().square().sum()) for part in parts if part is not None)
    return square**0.5, float(pull.detach().double().norm())


def coupling(root: Tensor, variable: Tensor, values: tuple[int, ...]) -> float | None:
    """The share of the first sample's gradient, in norm, that lies in the other samples' inputs; None where a row of the values is no sample."""
    edge, _ = summands(root)
    if edge is None or len(values) < 1 or variable.dim() < 1 or values[0] != variable.shape[0] or values[0] < 2:
        return None
    first = torch.zeros(values, dtype=root.dtype, device=root.device)
    first[0] = 1
    try:
        (gradient,) = torch.autograd.grad([edge], [variable], [first], retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None
    if gradient is None:
        return None
    whole, others = float(gradient.double().norm()), float(gradient[1:].double().norm())
    return others / whole if whole > 0 else None
