"""Labels of which some are missing (NaN). Must not know terms."""

import math

import torch
from torch import Tensor

from inputgrad.devices import is_readable


def known(labels: Tensor) -> tuple[Tensor | None, Tensor]:
    """Which labels are there, and the labels with 0 in the place of each missing one, since a NaN times zero would be one.

    None and the labels as they are where none is missing and one look tells so without a wait: a sum that is finite has no NaN in it.
    """
    if is_readable(labels) and math.isfinite((labels.detach() if labels.requires_grad else labels).sum().item()):
        return None, labels
    return ~labels.isnan(), labels.nan_to_num(0.0, math.inf, -math.inf)


def both(counts: Tensor | None, others: Tensor | None) -> Tensor | None:
    """Where both count; None stands for everywhere."""
    if counts is None or others is None:
        return others if counts is None else counts
    return counts & others


def counted(gap: Tensor, counts: Tensor | None) -> Tensor:
    """``gap`` where it counts, 0 elsewhere."""
    return gap if counts is None else torch.where(counts, gap, 0)
