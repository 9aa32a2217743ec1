"""Reads what a call asks of autograd: of `autograd.grad`, of a backward pass. Follows nothing, knows no probe."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from inputgrad.audit.observations.gradient_calls import Request


def made(root: Tensor, create_graph: bool, retain_graph: bool | None, **options: Any) -> Request:
    """What is asked for, and under which modes."""
    kept = create_graph if retain_graph is None else retain_graph
    return Request(create_graph, kept, torch.is_grad_enabled(), torch.is_inference_mode_enabled() or root.is_inference(), **options)


def of_grad(root: Tensor, given: dict[str, Any]) -> Request:
    """What a call of `autograd.grad` asks for, by its arguments."""
    options = {"allow_unused": bool(given.get("allow_unused")), "materialize": bool(given.get("materialize_grads"))}
    return made(root, bool(given.get("create_graph")), given.get("retain_graph"), **options)


def listed(value: Any) -> list[Any]:
    """One tensor or several, as a list."""
    return [] if value is None else [value] if isinstance(value, (Tensor, GradientEdge)) else list(value)
