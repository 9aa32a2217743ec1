"""Computes what an adaptive optimiser makes of a gradient's size: its next update along the gradient, and along ten times it. Knows no run."""

from typing import Any

import torch
from torch import Tensor


def tenfold(optimizer: torch.optim.Optimizer) -> float | None:
    """How much ten times the gradient changes the update, relative to the update; None for optimisers other than Adam, AdamW and RMSprop."""
    moments = {"Adam": _adam, "AdamW": _adam, "RMSprop": _rmsprop}.get(type(optimizer).__name__)
    if moments is None:
        return None
    difference = size = 0.0
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None and not p.grad.is_sparse):
                gradient = parameter.grad.detach().double()
                one = moments(gradient, optimizer.state.get(parameter, {}), group)
                ten = moments(10 * gradient, optimizer.state.get(parameter, {}), group)
                difference += float((ten - one).square().sum())
                size += float(one.square().sum())
    return (difference / size) ** 0.5 if size else None


def _adam(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    one, two = group["betas"]
    time = float(state["step"]) + 1 if "step" in state else 1.0
    mean = one * _old(state, "exp_avg", gradient) + (1 - one) * gradient
    square = two * _old(state, "exp_avg_sq", gradient) + (1 - two) * gradient.square()
    return mean / (1 - one**time) / ((square / (1 - two**time)).sqrt() + group["eps"])


def _rmsprop(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    square = group["alpha"] * _old(state, "square_avg", gradient) + (1 - group["alpha"]) * gradient.square()
    return gradient / (square.sqrt() + group["eps"])


def _old(state: dict[str, Any], name: str, gradient: Tensor) -> Tensor:
    return state[name].double() if name in state else torch.zeros_like(gradient)
