"""Kernels of torch that have no public name."""

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def is_fused_attention(name: str) -> bool:
    """Whether an operation of this name is a fused kernel of scaled dot-product attention. Read in torch 2.6 to 2.15. Missing: False."""
    return "_scaled_dot_product" in name


def has_flash_attention_for_cpu() -> bool:
    """Whether fused attention of the CPU and its backward pass can be called. Read in torch 2.6 to 2.15."""
    return hasattr(aten, "_scaled_dot_product_flash_attention_for_cpu") and hasattr(aten, "_scaled_dot_product_flash_attention_for_cpu_backward")


def flash_attention_for_cpu(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """The output, and the logarithm of each row's sum; without dropout. Read in torch 2.6 to 2.15. Missing: see `has_flash_attention_for_cpu`."""
    return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)


def flash_attention_for_cpu_backward(
    go: Tensor, q: Tensor, k: Tensor, v: Tensor, output: Tensor, sums: Tensor, causal: bool, mask: Tensor | None, scale: float
) -> tuple[Tensor, ...]:
    """The gradients of q, k and v. Read in torch 2.6 to 2.15. Missing: see `has_flash_attention_for_cpu`."""
    found: Any = aten._scaled_dot_product_flash_attention_for_cpu_backward(go, q, k, v, output, sums, 0.0, causal, attn_mask=mask, scale=scale)
    return tuple(found)


def safe_softmax(scores: Tensor) -> Tensor:
    """The softmax of each row; a row of −∞ becomes zeros. Read in torch 2.6 to 2.15. Missing: two operations."""
    if hasattr(aten, "_safe_softmax"):
        return aten._safe_softmax(scores, -1)
    return torch.softmax(scores, -1).masked_fill_((scores == -torch.inf).all(-1, keepdim=True), 0)


def suggested_memory_format(x: Tensor) -> torch.memory_format:
    """The memory format that torch's kernels give to their result: channels last where x's strides are in that order, of a slice too.

    Read in torch 2.6 to 2.15. Missing: channels last where x is wholly in that order.
    """
    try:
        from torch._prims_common import suggest_memory_format
    except ImportError:
        for dimensions, kind in ((4, torch.channels_last), (5, torch.channels_last_3d)):
            if x.dim() == dimensions and x.is_contiguous(memory_format=kind) and not x.is_contiguous():
                return kind
        return torch.contiguous_format
    return suggest_memory_format(x)
