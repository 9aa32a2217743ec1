"""Norms, variances and extremes over dimensions; products over them; sorting."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.operators.taylor.algebra import full
from inputgrad.operators.taylor.jet import RULES, Jet, forms, jets_in, rule_for
from inputgrad.operators.taylor.rules import powers
from inputgrad.operators.taylor.rules.derivatives import TensorTower
from inputgrad.operators.taylor.rules.elementwise import applied
from inputgrad.operators.taylor.rules.linear_maps import checked, results
from inputgrad.operators.taylor.rules.products import over, times

Dims = int | Sequence[int] | None


def root(z: Tensor, n: int) -> TensorTower:
    """√z; at 0 it and its derivatives are 0, as the library has it for norms and deviations everywhere."""
    zero = z.detach() == 0
    value, found = powers.sqrt(torch.where(zero, 1.0, z), n)
    return torch.where(zero, 0.0, value), [torch.where(zero, 0.0, part) for part in found]


def variance(x: Jet, dim: Dims, correction: float, keepdim: bool) -> Any:
    dims = list(range(x.dim())) if dim is None or dim == () else [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(x.shape[d] for d in dims)
    centred: Any = x - x.mean(dims, keepdim=True)
    found: Any = times(centred, centred).sum(dims, keepdim=keepdim) / max(count - correction, 0)
    value = torch.var(x.value, dims, correction=correction, keepdim=keepdim)  # torch's own is exactly 0 where all values are alike
    return Jet(value, found.blocks, x.run)


def _arguments(*args: Any, **kwargs: Any) -> tuple[Dims, float, bool]:
    """Of ``var`` and ``std`` in all their forms: dimensions, correction, keepdim."""
    if args and isinstance(args[0], bool):
        return None, float(args[0]), False
    dim = args[0] if args else kwargs.get("dim", kwargs.get("axis"))
    unbiased = args[1] if len(args) > 1 else kwargs.get("unbiased", True)
    correction = kwargs.get("correction", float(unbiased))
    return dim, 1.0 if correction is None else correction, bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False))


@rule_for(*forms("var", "std"))
def var(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    found = variance(checked(func, x, *args), *_arguments(*args, **kwargs))
    return applied(root, found) if func in forms("std") else found


@rule_for(*forms("var_mean", "std_mean"))
def var_mean(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    dim, correction, keepdim = _arguments(*args, **kwargs)
    found = variance(checked(func, x, *args), dim, correction, keepdim)
    mean = x.mean() if dim is None else x.mean(dim, keepdim=keepdim)
    return applied(root, found) if func in forms("std_mean") else found, mean


def vector_norm(x: Any, p: Any, dim: Dims, keepdim: bool, dtype: Any = None) -> Any:
    if dtype is not None or p not in (1, 2, 2.0, "fro", None):
        raise x.run.refuse(f"a norm with p={p!r} has no rule")
    dims = list(range(x.dim())) if dim is None else dim
    if p == 1:
        return x.abs().sum(dims, keepdim=keepdim)
    square: Any = times(x, x)
    return applied(root, square.sum(dims, keepdim=keepdim))


@rule_for(torch.norm, Tensor.norm)
def norm(func: Any, x: Any, p: Any = "fro", dim: Dims = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> Any:
    return vector_norm(checked(func, x, out), p, dim, keepdim, dtype)


@rule_for(torch.linalg.vector_norm)
def linalg_vector_norm(func: Any, x: Any, ord: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    return vector_norm(checked(func, x, out), ord, dim, keepdim, dtype)


@rule_for(torch.linalg.norm)
def linalg_norm(func: Any, x: Any, ord: Any = None, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    of_matrices = x.dim() == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if of_matrices and ord not in (None, "fro"):
        raise jets_in(x)[0].run.refuse("a norm of matrices has no rule")
    return vector_norm(checked(func, x, out), ord, dim, keepdim, dtype)


@rule_for(*forms("cosine_similarity"))
def cosine_similarity(func: Any, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    sizes = [torch.linalg.vector_norm(x, 2, dim).clamp_min(eps) for x in (x1, x2)]
    return over((x1 * x2).sum(dim), sizes[0] * sizes[1])


@rule_for(*forms("cdist"))
def cdist(func: Any, x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    return torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@rule_for(*forms("prod"))
def prod(func: Any, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if not isinstance(dim, int) or dtype is not None or checked(func, x).shape[dim] > 32:
        raise jets_in(x)[0].run.refuse("prod over all elements, or more than 32, has no rule")
    first, *rest = x.unbind(dim)
    for part in rest:
        first = times(first, part)
    return first.unsqueeze(dim) if keepdim else first


def picked(x: Jet, value: Tensor, indices: Tensor, dim: int) -> Jet:
    """The elements at these indices along a dimension, of which the value is known."""
    place = dim % x.dim() + 1
    jet: Jet = results(x, value, lambda block: full(block, x.shape).gather(place, indices.expand(len(block), *indices.shape)))
    return jet


@rule_for(*forms("max", "min", "median", "nanmedian", "mode", "kthvalue", "sort", "topk", "cummax", "cummin"))
def ordered(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    if jets_in(*args, *kwargs.values()):
        return torch.maximum(x, *args) if func in forms("max") else torch.minimum(x, *args)
    if args and isinstance(args[0], Tensor):
        return torch.maximum(x, args[0]) if func in forms("max") else torch.minimum(x, args[0])
    found = func(checked(func, x).value, *args, **kwargs)
    if isinstance(found, Tensor):
        return extreme(func, x)
    name = getattr(func, "__name__", "")
    place, default = (1, -1) if name in ("topk", "kthvalue") else (0, -1)
    dim = kwargs.get("dim", args[place] if len(args) > place else default)
    if found[0].dim() == x.dim():
        return type(found)((picked(x, found[0], found[1], dim), found[1]))
    kept = picked(x, found[0].unsqueeze(dim), found[1].unsqueeze(dim), dim)
    return type(found)((kept.squeeze(dim), found[1]))


@rule_for(*forms("amax", "amin"))
def extreme(func: Any, x: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """Refused where several elements are the extreme: torch shares the derivative out among them."""
    name = getattr(func, "__name__", "")
    dims = list(range(checked(func, x).dim())) if dim in ((), None, []) else [dim] if isinstance(dim, int) else list(dim)
    value = (torch.amax if "max" in name else torch.amin)(x.value, dims, True)
    at = x.value.detach() == value.detach()
    if bool((at.sum(dims) > 1).any()):
        raise x.run.refuse("the extreme of several equal values has no rule")
    kept = (x * at).sum(dims, keepdim=keepdim)
    return Jet(value if keepdim else value.reshape(kept.shape), kept.blocks, x.run)


def _pool(dimensions: int) -> Any:
    def rule(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        wants_indices = kwargs.pop("return_indices", False) or (len(args) > 5 and args[5])
        with_indices = getattr(F, f"max_pool{dimensions}d")
        value, indices = with_indices(checked(func, x).value, *args[:5], **kwargs, return_indices=True)

        def pooled(block: Tensor) -> Tensor:
            flat = full(block, x.shape).flatten(-dimensions)
            places = indices.flatten(-dimensions)
            return flat.gather(-1, places.expand(len(block), *places.shape)).view(len(block), *value.shape)

        jet = results(x, value, pooled)
        return (jet, indices) if wants_indices else jet

    return rule


for _dimensions in (1, 2, 3):
    RULES.update(dict.fromkeys(forms(f"max_pool{_dimensions}d"), _pool(_dimensions)))
