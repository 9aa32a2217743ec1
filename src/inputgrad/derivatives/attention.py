"""Scaled dot-product attention: the fused kernel forward and in the first backward pass, its second derivative written out. torch's fused kernels have none.

    S = c q kᵀ + mask      P = softmax S      o = P v
    Ṗ = ȯ vᵀ      Ṡ = P (Ṗ − ⟨P Ṗ⟩)      gq = c Ṡ k      gk = c Ṡᵀ q      gv = Pᵀ ȯ                    ȯ: the gradient of o;  ⟨·⟩: sums over keys
    ⟨u, g⟩:   W = c (uq kᵀ + q ukᵀ)      V = P (W − ⟨P W⟩)      Z = (W − ⟨P W⟩) (Ṗ − ⟨P Ṗ⟩) + ȯ uvᵀ      T = P (Z − ⟨P Z⟩)
              in ȯ: P uv + V v      in q: c (T k + Ṡ uk)      in k: c (Tᵀ q + Ṡᵀ uq)      in v: Vᵀ ȯ

P is made again, for as many heads or query rows at a time as `BLOCK` allows, so that memory stays bounded however long the sequence. Causal, masks of both
kinds, a scale and grouped queries are covered; dropout, a mask that is learnt and shapes that the fused kernel refuses run in torch's math kernel, which
can be differentiated twice. Must not know of models, engines or terms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from inputgrad.derivatives.reentered import reentered
from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import Operation, Tensors, Wanted, as_autocast, differentiated, run
from inputgrad.torch_internals import kernels

BLOCK = 2**18
"""Attention weights made at a time in the second backward pass (1 MB in float32, and some six such arrays: by measurement on a CPU core)."""


@dataclass(frozen=True)
class Settings:
    """mask: bool (True takes part) or to be added, of a shape that broadcasts to ``[N, heads, L, S]``."""

    mask: Tensor | None
    causal: bool
    scale: float

    def added(self, dtype: torch.dtype) -> Tensor | None:
        """The mask in the form that is added to the scores."""
        if self.mask is None or self.mask.dtype != torch.bool:
            return self.mask
        return torch.zeros_like(self.mask, dtype=dtype).masked_fill_(self.mask.logical_not(), -torch.inf)

    def own(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, self.mask, 0.0, self.causal, scale=self.scale)


def _forward(settings: Settings, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensors]:
    if q.device.type != "cpu" or not kernels.has_flash_attention_for_cpu():
        return settings.own(q, k, v), ()
    o, sums = kernels.flash_attention_for_cpu(q, k, v, settings.causal, settings.added(q.dtype), settings.scale)
    return o, (o, sums)


def _backward(settings: Settings, go: Tensor, tensors: Tensors, kept: Tensors, _wanted: Wanted) -> Tensors:
    if not kept:  # the fused kernels of other devices differ; autograd knows which one it was
        with torch.enable_grad():
            again = [tensor.detach().requires_grad_() for tensor in tensors]
            return torch.autograd.grad(settings.own(*again), again, go)
    q, k, v = tensors
    o, sums = kept
    return kernels.flash_attention_for_cpu_backward(go, q, k, v, o, sums, settings.causal, settings.added(go.dtype), settings.scale)


def _second(settings: Settings, u: Tensors, go: Tensor, tensors: Tensors, _kept: Tensors, _wanted: Wanted) -> Tensors:
    given = (go, *tensors, *[torch.zeros_like(t) if part is None else part for part, t in zip(u, tensors, strict=True)])
    length, keys = go.shape[2], tensors[1].shape[2]
    mask = settings.mask
    if settings.causal:
        mask = torch.ones(length, keys, dtype=torch.bool, device=go.device).tril()
    mask = None if mask is None else mask.expand(*go.shape[:3], keys)
    blocks = list(_blocks(go.shape[0], go.shape[1], length, keys))
    if len(blocks) == 1:
        return _block(given, mask, settings.scale)
    total = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (go, *tensors)]
    for heads, rows in blocks:
        here = tuple(t[heads][:, :, rows] if i in (0, 1, 4) else t[heads] for i, t in enumerate(given))
        found = _block(here, None if mask is None else mask[heads][:, :, rows], settings.scale)
        for i, (part, into) in enumerate(zip(found, total, strict=True)):
            (into[heads][:, :, rows] if i < 2 else into[heads]).add_(part)
    return tuple(total)


def _blocks(samples: int, heads: int, length: int, keys: int) -> Iterator[tuple[tuple[slice, slice], slice]]:
    """Samples and heads, and query rows, of each block."""
    n, h, rows = (max(1, min(most, BLOCK // each)) for most, each in ((samples, heads * length * keys), (heads, length * keys), (length, keys)))
    for i in range(0, samples, n):
        for j in range(0, heads, h):
            for row in range(0, length, rows):
                yield (slice(i, i + n), slice(j, j + h)), slice(row, row + rows)


def _block(given: Tensors, mask: Tensor | None, scale: float) -> Tensors:
    """The four gradients from some query rows of some heads; given: go, q, k, v, uq, uk, uv, ``[n, h, rows, E]`` (go, q, uq) or ``[n, h, S, E]``."""
    wide = torch.promote_types(given[0].dtype, torch.float32)
    go, q, k, v, uq, uk, uv = (t.to(wide).flatten(0, 1) for t in given)
    q, uq = q * scale, uq * scale
    p = _weights(q @ k.transpose(1, 2), mask)
    p_dot = go @ v.transpose(1, 2)
    w = (uq @ k.transpose(1, 2)).baddbmm_(q, uk.transpose(1, 2))
    s_dot, along = p * p_dot, p * w
    for plain, weighted in ((p_dot, s_dot), (w, along)):
        mean = weighted.sum(-1, keepdim=True)
        plain.sub_(mean)
        weighted.addcmul_(p, mean, value=-1)
    t = w.mul_(p_dot).baddbmm_(go, uv.transpose(1, 2)).mul_(p)
    t.addcmul_(p, t.sum(-1, keepdim=True), value=-1)
    found = (
        torch.baddbmm(p @ uv, along, v),
        torch.baddbmm(t @ k, s_dot, uk).mul_(scale),
        torch.baddbmm(t.transpose(1, 2) @ q, s_dot.transpose(1, 2), uq),
        along.transpose(1, 2) @ go,
    )
    return tuple(part.view(t.shape).to(t.dtype) for part, t in zip(found, given, strict=False))


def _weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    """The softmax of ``[heads, rows, S]``; a row in which nothing takes part is zero, as in torch's kernels."""
    if mask is None:
        return torch.softmax(scores, -1)
    mask = mask.flatten(0, 1)
    scores = scores.masked_fill_(mask.logical_not(), -torch.inf) if mask.dtype == torch.bool else scores.add_(mask)
    return kernels.safe_softmax(scores)


def _by_math(settings: Settings, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return settings.own(q, k, v)


ATTENTION = Operation(inputs=3, torchs_own=_by_math, forward=_forward, backward=_backward, second=_second)


def scaled_dot_product_attention(
    phase: BackwardTarget,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """``torch.nn.functional.scaled_dot_product_attention`` of query ``[N, heads, L, E]``, key and value ``[N, heads, S, E]``."""
    if not differentiated(query, key, value, attn_mask) or _math_alone(query):
        return NotImplemented  # nothing to differentiate; or the user has chosen the kernel
    q, k, v, mask = as_autocast(query, key, value, None if attn_mask is None or attn_mask.dtype == torch.bool else attn_mask)
    mask = attn_mask if mask is None else mask
    if enable_gqa and q.dim() == 4 and k.dim() == 4 and v.dim() == 4 and k.shape[1] and v.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    if dropout_p > 0 or not _fusible(q, k, v, mask, is_causal):
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    return run(ATTENTION, phase, Settings(mask, is_causal, q.shape[-1] ** -0.5 if scale is None else scale), q, k, v, rescue=True)


def _math_alone(q: Tensor) -> bool:
    """Whether the user has left torch the math kernel only."""
    allowed = torch.backends.cuda
    others = () if q.device.type == "cpu" else (allowed.mem_efficient_sdp_enabled(), allowed.cudnn_sdp_enabled())
    return not (allowed.flash_sdp_enabled() or any(others))


def _fusible(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> bool:
    """Whether the fused kernel takes them: four dimensions that agree, one dtype, a constant mask of two or four dimensions."""
    if not (q.dim() == k.dim() == v.dim() == 4 and q.dtype == k.dtype == v.dtype and q.is_floating_point()):
        return False
    if not (q.shape[:2] == k.shape[:2] == v.shape[:2] and q.shape[3] == k.shape[3] == v.shape[3] and k.shape[2] == v.shape[2] and q.numel() and k.numel()):
        return False
    if mask is None:
        return True
    return not causal and not mask.requires_grad and mask.dim() in (2, 4) and mask.dtype in (torch.bool, q.dtype)


SUBSTITUTES: dict[Any, Substitute] = {
    F.scaled_dot_product_attention: scaled_dot_product_attention,
    F.multi_head_attention_forward: reentered(F.multi_head_attention_forward),
}
