"""Margin losses of several classes in primitive operations: torch's own kernels have no second derivative.

    multi_margin_loss(x, y)            (1/C) Σ_{j ≠ y} w_y max(0, m − x_y + x_j)ᵖ          p = 1 or 2
    multilabel_margin_loss(x, Y)       (1/C) Σ_{k ∈ Y} Σ_{j ∉ Y} max(0, 1 − x_k + x_j)     Y: the labels before the first −1

At the margin itself the derivative is 0, as torch's first one is. Takes the memory of every pair that is summed. Must not know of models, engines or terms.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated


def multi_margin_loss(
    _phase: BackwardTarget,
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """``torch.nn.functional.multi_margin_loss`` of ``[N, C]``, ``[C]`` or one number, with one class per sample."""
    if not _covered(input, (size_average, reduce)) or target.numel() != input.shape[:-1].numel() or p not in (1, 2):
        return NotImplemented
    input = torch.atleast_1d(input)
    label = target.reshape(*input.shape[:-1], 1)
    distances = (margin - input.gather(-1, label) + input).relu()
    weighted = distances**p if weight is None else distances**p * weight[label]
    others = torch.ones_like(input, dtype=torch.bool).scatter(-1, label, False)
    return _reduced(torch.where(others, weighted, 0).sum(-1) / input.shape[-1], reduction)


def multilabel_margin_loss(
    _phase: BackwardTarget,
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """``torch.nn.functional.multilabel_margin_loss`` of ``[N, C]``, ``[C]`` or one number, with the labels of each sample in front and −1 behind them."""
    if not _covered(input, (size_average, reduce)) or target.shape != input.shape:
        return NotImplemented
    input, target = torch.atleast_1d(input), torch.atleast_1d(target)
    given = (target < 0).cumsum(-1) == 0
    labels = torch.where(given, target, 0)
    others = torch.zeros_like(labels).scatter_add(-1, labels, given.to(labels.dtype)) == 0
    distances = (1 - input.gather(-1, labels).unsqueeze(-1) + input.unsqueeze(-2)).relu()
    pairs = given.unsqueeze(-1) & others.unsqueeze(-2)
    return _reduced(torch.where(pairs, distances, 0).sum((-2, -1)) / input.shape[-1], reduction)


def _covered(input: Tensor, old_names: tuple[bool | None, bool | None]) -> bool:
    """old_names: size_average and reduce, which torch has replaced by reduction."""
    return differentiated(input) and old_names == (None, None) and input.dim() <= 2 and input.shape[-1:] != (0,)


def _reduced(losses: Tensor, reduction: str) -> Any:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else NotImplemented


SUBSTITUTES: dict[Any, Substitute] = {F.multi_margin_loss: multi_margin_loss, F.multilabel_margin_loss: multilabel_margin_loss}
