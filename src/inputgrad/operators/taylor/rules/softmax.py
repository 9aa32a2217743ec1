"""Softmax and its relatives, and attention: written out in exponentials, sums and products, which have rules."""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.operators.taylor.jet import Jet, forms, jets_in, rule_for, value_of
from inputgrad.operators.taylor.rules.linear_maps import checked
from inputgrad.operators.taylor.rules.products import over, times


def _dim_and_type(x: Jet, dim: Any, dtype: Any) -> Jet:
    if dim is None:
        raise x.run.refuse("softmax without dim has no rule")
    return x if dtype is None else cast(Jet, x.to(dtype))


def _exponentials(x: Jet, dim: Any) -> tuple[Any, Tensor]:
    """exp(x − m) and m, the largest value, a constant that cancels out."""
    largest = x.value.detach().amax(dim, keepdim=True)
    largest = torch.where(largest.isfinite(), largest, 0.0)
    return (x - largest).exp(), largest


@rule_for(*forms("softmax"))
def softmax(func: Any, input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    if isinstance(_stacklevel, torch.dtype):
        dtype = _stacklevel
    e, _ = _exponentials(_dim_and_type(checked(func, input), dim, dtype), dim)
    return over(e, e.sum(dim, keepdim=True))


@rule_for(*forms("softmin"))
def softmin(func: Any, input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    return softmax(func, -input, dim, dtype=dtype)


@rule_for(*forms("logsumexp"))
def logsumexp(func: Any, input: Any, dim: Any, keepdim: bool = False) -> Any:
    e, largest = _exponentials(checked(func, input), dim)
    found = e.sum(dim, keepdim=True).log() + largest
    return found if keepdim else found.squeeze(dim)


@rule_for(*forms("log_softmax"))
def log_softmax(func: Any, input: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    if isinstance(_stacklevel, torch.dtype):
        dtype = _stacklevel
    x: Any = _dim_and_type(checked(func, input), dim, dtype)
    return x - logsumexp(func, x, dim, keepdim=True)


@rule_for(*forms("glu"))
def glu(func: Any, input: Any, dim: int = -1) -> Any:
    a, gate = checked(func, input).chunk(2, dim)
    return times(a, gate.sigmoid())


@rule_for(*forms("scaled_dot_product_attention"))
def attention(
    func: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    run = jets_in(query, key, value, attn_mask)[0].run
    if enable_gqa:
        raise run.refuse("attention with enable_gqa has no rule")
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=value_of(query).device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = torch.softmax(scores, -1)
    return F.dropout(weights, dropout_p) @ value if dropout_p else weights @ value
