"""Rules of `branches` for functions that are pieces in disguise: remainders, which jump, and norms of order 1 and ∞, whose kernels hide signs and maxima."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape


def remainder(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``x − q · y`` with the quotient q, rounded down (remainder) or towards zero (fmod, frac), decided at x."""
    x = args[0] if args else kwargs["input"]
    y = 1 if "frac" in func.__name__ else args[1] if len(args) > 1 else kwargs["other"]
    rounding = "floor" if func.__name__ in ("remainder", "remainder_", "__mod__") else "trunc"
    result = x - tape.decide(lambda: torch.div(x, y, rounding_mode=rounding)) * y
    return x.copy_(result) if func.__name__.endswith("_") and not func.__name__.endswith("__") else result


def division(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A division that rounds is a decision."""
    if kwargs.get("rounding_mode") is None:
        return func(*args, **kwargs)
    found = func(*args, **kwargs)
    decided = tape.decide(found.clone)
    return found.copy_(decided) if func.__name__ == "div_" else decided


def norm(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.linalg.vector_norm`` and ``torch.norm``: of order 1 by signs, of order ∞ by the elements that attain it. Other orders are smooth."""
    names = ("x", "ord", "dim", "keepdim") if "vector" in func.__name__ else ("input", "p", "dim", "keepdim")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, order, dim, keepdim = given[names[0]], given.get(names[1]), given.get("dim"), bool(given.get("keepdim", False))
    if order not in (1, math.inf) or given.get("dtype") is not None or given.get("out") is not None:
        return func(*args, **kwargs)
    sizes = torch.where(tape.decide(lambda: x < 0), -x, x)
    dims = tuple(range(x.dim())) if dim is None else dim
    if order == 1:
        return sizes.sum(dims, keepdim=keepdim)
    attained = tape.decide(lambda: sizes == sizes.amax(dims, keepdim=True))
    shared: Tensor = torch.where(attained, sizes, 0).sum(dims, keepdim=keepdim) / attained.sum(dims, keepdim=keepdim)
    return shared
