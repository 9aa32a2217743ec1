"""Standard deviations, norms and the like at zero, where torch has a first derivative and makes NaN of the second.

    s(x) = 0 (a constant, a dead unit, a padded row):   the value is 0 and so is its derivative of every order, as torch's first one is; never NaN
    sinc(0):   1 − (πx)²/6 + (πx)⁴/120, its own series

Everywhere else value and derivatives are torch's own. Covers std and std_mean, vector norms and the Frobenius norm, normalize, cosine_similarity, sinc.
Must not know of models, engines or terms.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.reentered import reentered
from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated, may_hold

aten = torch.ops.aten
Dims = int | Sequence[int] | None


def std(_phase: BackwardTarget, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``torch.std``."""
    dim, keepdim = _dimensions_of_std(*args, **kwargs)
    if input.dim() and math.prod(input.shape[d] for d in _numbers(input, dim)) == 1:
        return torch.var(input, *args, **kwargs)  # of one value: 0 (or NaN) whatever it is
    return _guarded(lambda x: torch.std(x, *args, **kwargs), input, dim, keepdim)


def std_mean(phase: BackwardTarget, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``torch.std_mean``."""
    deviation = std(phase, input, *args, **kwargs)
    return NotImplemented if deviation is NotImplemented else (deviation, torch.std_mean(input, *args, **kwargs)[1])


def vector_norm(_phase: BackwardTarget, input: Tensor, ord: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """``torch.linalg.vector_norm``."""
    if out is not None or ord == 0:
        return NotImplemented
    return _guarded(lambda x: torch.linalg.vector_norm(x, ord, dim, keepdim, dtype=dtype), input, dim, keepdim)


def matrix_norm(
    phase: BackwardTarget, input: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Any:
    """``torch.linalg.matrix_norm``: the Frobenius norm."""
    return vector_norm(phase, input, 2, dim, keepdim, dtype=dtype, out=out) if ord == "fro" else NotImplemented


def linalg_norm(phase: BackwardTarget, input: Tensor, ord: Any = None, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """``torch.linalg.norm``: of vectors, and the Frobenius norm."""
    of_matrices = input.dim() == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if ord is None or ord == "fro":
        return vector_norm(phase, input, 2, dim, keepdim, dtype=dtype, out=out)
    return NotImplemented if of_matrices else vector_norm(phase, input, ord, dim, keepdim, dtype=dtype, out=out)


def norm(phase: BackwardTarget, input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> Any:
    """``torch.norm``."""
    if isinstance(p, str) and p != "fro":
        return NotImplemented
    return vector_norm(phase, input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype, out=out)


def cosine_similarity(phase: BackwardTarget, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Any:
    """``torch.nn.functional.cosine_similarity``: in torch's own operations where a vector is zero."""
    if not differentiated(x1, x2) or not all(x.is_floating_point() for x in (x1, x2)):
        return NotImplemented
    wide = torch.result_type(x1, x2)
    first, second = torch.broadcast_tensors(x1.to(wide), x2.to(wide))
    with torch.no_grad():
        zero = [torch.linalg.vector_norm(x, 2, dim) == 0 for x in (first, second)]
    if not any(map(may_hold, zero)):
        return NotImplemented
    units = []
    for x in (first, second):
        length = vector_norm(phase, x, 2, dim, True)
        length = torch.linalg.vector_norm(x, 2, dim, True) if length is NotImplemented else length
        units.append(x / (length + (length.detach().clamp_min(eps) - length.detach())))  # torch bounds the value, not the derivative
    return (units[0] * units[1]).sum(dim)


def sinc(_phase: BackwardTarget, input: Tensor) -> Any:
    """``torch.sinc``."""
    if not differentiated(input) or not input.is_floating_point():
        return NotImplemented
    zero = input.detach() == 0
    if not may_hold(zero):
        return NotImplemented
    square = torch.where(zero, input * math.pi, 0).square()
    return torch.where(zero, 1 - square / 6 + square.square() / 120, torch.sinc(torch.where(zero, 1, input)))


def _guarded(function: Callable[[Tensor], Tensor], x: Tensor, dim: Dims, keepdim: bool) -> Any:
    """``function(x)``, a length over the dimensions ``dim``, as a constant 0 wherever it is 0."""
    if not differentiated(x) or not x.is_floating_point() or x.numel() == 0:
        return NotImplemented
    value = function(x)
    zero = value.detach() == 0
    if not may_hold(zero):
        return value
    dims = _numbers(x, dim)
    rows = zero
    for d in () if keepdim else dims:
        rows = rows.unsqueeze(d)
    sizes = [x.shape[d] if d in dims else 1 for d in range(x.dim())]
    other = torch.linspace(1, 2, math.prod(sizes), dtype=x.dtype, device=x.device).view(sizes)
    return function(torch.where(rows, other, x)).masked_fill(zero, 0)


def _numbers(x: Tensor, dim: Dims) -> list[int]:
    """The numbers of the dimensions, in order; None and none are all."""
    given = [dim] if isinstance(dim, int) else dim
    return sorted(d % x.dim() for d in given) if given and x.dim() else list(range(x.dim()))


def _dimensions_of_std(*args: Any, **kwargs: Any) -> tuple[Dims, bool]:
    """Of both forms: (dim, unbiased, keepdim), and (unbiased) over all."""
    if (args and isinstance(args[0], bool)) or not (args or "dim" in kwargs or "axis" in kwargs):
        return None, bool(kwargs.get("keepdim", False))
    dim = args[0] if args else kwargs.get("dim", kwargs.get("axis"))
    return dim, bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False))


SUBSTITUTES: dict[Any, Substitute] = {
    **dict.fromkeys((torch.std, Tensor.std, aten.std.correction), std),
    torch.std_mean: std_mean,
    **dict.fromkeys((torch.linalg.vector_norm, aten.linalg_vector_norm, aten.linalg_vector_norm.default), vector_norm),
    torch.linalg.matrix_norm: matrix_norm,
    torch.linalg.norm: linalg_norm,
    **dict.fromkeys((torch.norm, Tensor.norm), norm),
    **dict.fromkeys((F.cosine_similarity, torch.cosine_similarity), cosine_similarity),
    **dict.fromkeys((torch.sinc, Tensor.sinc, torch.special.sinc), sinc),
    F.normalize: reentered(F.normalize),
}
