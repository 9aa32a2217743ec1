"""Pairwise distances in primitive operations: torch's own kernels (cdist, pdist) have no second derivative.

    d = (Σ |x − y|ᵖ)^(1/p)      at d = 0 every derivative is zero, as torch's first one is

Covers a finite p of 1, or 2 and more: between them the second derivative is infinite where two coordinates agree. Takes the memory of every difference
``[..., P, R, M]``. Must not know of models, engines or terms.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated


def cdist(_phase: BackwardTarget, x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """``torch.cdist`` of ``[..., P, M]`` and ``[..., R, M]``: ``[..., P, R]``."""
    if not differentiated(x1, x2) or not _covered(p) or min(x1.dim(), x2.dim()) < 2 or x1.shape[-1] != x2.shape[-1]:
        return NotImplemented
    return _length(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


def pdist(_phase: BackwardTarget, input: Tensor, p: float = 2.0) -> Any:
    """``torch.nn.functional.pdist`` of ``[N, M]``: ``[N (N − 1) / 2]``."""
    if not differentiated(input) or not _covered(p) or input.dim() != 2:
        return NotImplemented
    first, second = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return _length(input[first] - input[second], p)


def _covered(p: float) -> bool:
    return p == 1 or 2 <= p < math.inf


def _length(difference: Tensor, p: float) -> Tensor:
    if p == 1:
        return difference.abs().sum(-1)
    powers = (difference.square() if p == 2 else difference.abs().pow(p)).sum(-1)
    apart = powers > 0
    return torch.where(apart, torch.where(apart, powers, 1).pow(1 / p), 0)


SUBSTITUTES: dict[Any, Substitute] = {torch.cdist: cdist, F.pdist: pdist}
