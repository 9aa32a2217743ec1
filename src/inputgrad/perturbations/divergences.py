"""Divergences between two outputs of a model, one number per sample: of class probabilities, or of the outputs themselves.

Knows tensors alone.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from inputgrad.errors import nearest

Divergence = Literal["kl", "reverse_kl", "symmetric_kl", "mse"]


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ_c p_c (log p_c − log q_c) over dimension 1."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


_OF_LOG_PROBABILITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": _kl,
    "reverse_kl": lambda log_p, log_q: _kl(log_q, log_p),
    "symmetric_kl": lambda log_p, log_q: ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1),
}
DIVERGENCES = (*_OF_LOG_PROBABILITIES, "mse")


def divergence(kind: str, clean: Tensor, other: Tensor) -> Tensor:
    """D ``[N]`` of the outputs ``clean`` and ``other`` ``[N, C, ...]`` (logits; of any shape ``[N, ...]`` for "mse").

    With p = softmax(clean) and q = softmax(other) over C: "kl" KL(p ‖ q), "reverse_kl" KL(q ‖ p), "symmetric_kl" their sum, the mean over positions where
    there are any; "mse" the mean over a sample's outputs of (clean − other)².
    """
    if kind == "mse":
        squares = (clean - other).square()
        return squares.flatten(1).mean(1) if squares.dim() > 1 else squares
    if clean.dim() < 2 or clean.shape[1] < 2:
        raise ValueError(
            f"divergence={kind!r} compares probabilities of at least two classes, outputs [N, C, ...] with C ≥ 2, and the output is {list(clean.shape)}: "
            'take divergence="mse", or let the model give one logit a class'
        )
    found = _OF_LOG_PROBABILITIES[kind](clean.log_softmax(1), other.log_softmax(1))
    return found.flatten(1).mean(1) if found.dim() > 1 else found


def check_divergence(name: str, kind: str) -> None:
    """Raises `ValueError` for what names no divergence."""
    if kind not in DIVERGENCES:
        raise ValueError(f"{name}: divergence={kind!r}: {nearest(str(kind), DIVERGENCES)}")
