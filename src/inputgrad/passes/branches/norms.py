"""Rules of `branches` for functions that are pieces in disguise: remainders, which jump, norms and distances of order 1 and ∞, which hide signs and maxima.

    order 1: Σ σ·x with the signs σ = sign(x) decided at x        order ∞: σ·x of the elements that attain the maximum

At 0 the sign is 0, as in torch's derivatives. Orders between are smooth but at 0, and run as they are.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape

_PIECEWISE = (0, 1, math.inf, -math.inf)


def remainder(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``x − q · y`` with the quotient q, rounded down (remainder) or towards zero (fmod, frac), decided at x."""
    x = args[0] if args else kwargs["input"]
    y: Any = 1 if "frac" in func.__name__ else args[1] if len(args) > 1 else kwargs["other"]
    rounding = "floor" if func.__name__ in ("remainder", "remainder_", "__mod__") else "trunc"
    dividend = x if isinstance(x, Tensor) else torch.full_like(y, x)
    result = dividend - tape.decide(lambda: torch.div(dividend, y, rounding_mode=rounding)) * y
    return x.copy_(result) if writes_in_place(func) else result


def division(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A division that rounds is a decision."""
    if kwargs.get("rounding_mode") is None:
        return func(*args, **kwargs)
    return step(tape, func, args, kwargs)


def step(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A function that is constant between its jumps: what it is at x."""
    given = (args[0].clone(), *args[1:]) if writes_in_place(func) else args
    result = without_slope(tape.decide(lambda: func(*given, **kwargs)), *given, *kwargs.values())
    return args[0].copy_(result) if writes_in_place(func) else result


def writes_in_place(func: Any) -> bool:
    """Whether a function of torch writes to its first argument, by its name."""
    return func.__name__.endswith("_") and not func.__name__.endswith("__")


def without_slope(value: Tensor, *arguments: Any) -> Tensor:
    """The value, with the path that torch leaves to the arguments, along which every derivative is 0: without it, autograd says that there is none."""
    if value.is_floating_point():
        for argument in arguments:
            if isinstance(argument, Tensor) and argument.is_floating_point() and argument.requires_grad:
                value = torch.where(torch.zeros((), dtype=torch.bool, device=value.device), argument.sum(), value)
    return value


def magnitude(tape: "BranchTape", x: Tensor) -> Tensor:
    """|x| with its signs decided at x."""
    return signed(x, tape.decide(lambda: sides(x)))


def sides(x: Tensor) -> Tensor:
    """The sign of each element as a small integer."""
    return (x > 0).to(torch.int8) - (x < 0).to(torch.int8)


def signed(x: Tensor, side: Tensor) -> Tensor:
    return torch.where(side == 0, 0 * x, torch.where(side < 0, -x, x))


def norm(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.linalg.vector_norm`` and ``torch.norm``."""
    names = ("x", "ord", "dim", "keepdim") if "vector" in func.__name__ else ("input", "p", "dim", "keepdim")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, order, dim = given[names[0]], given.get(names[1]), given.get("dim")
    if order not in _PIECEWISE or given.get("dtype") is not None or given.get("out") is not None:
        return func(*args, **kwargs)
    return _vector_norm(tape, x, order, dim, keepdim=bool(given.get("keepdim", False)))


def linalg_norm(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.linalg.norm`` and ``matrix_norm``: of vectors, or of matrices by the largest sum of a column (1) or a row (∞)."""
    matrices = "matrix" in func.__name__
    given = dict(zip(("A", "ord", "dim", "keepdim"), args, strict=False)) | kwargs
    x = given["A"] if "A" in given else given["input"]
    order, dim, keepdim = given.get("ord"), given.get("dim", (-2, -1) if matrices else None), bool(given.get("keepdim", False))
    if order not in _PIECEWISE or given.get("dtype") is not None or given.get("out") is not None:
        return func(*args, **kwargs)
    dims = (dim,) if isinstance(dim, int) else tuple(range(x.dim())) if dim is None else tuple(dim)
    if len(dims) == 1:
        return _vector_norm(tape, x, order, dims, keepdim=keepdim)
    rows, columns = (d % x.dim() for d in dims)
    summed, kept = (rows, columns) if abs(order) == 1 else (columns, rows)
    sums = magnitude(tape, x).sum(summed, keepdim=True)
    largest = _attained(tape, sums, (kept,), largest=order > 0)
    return largest if keepdim else largest.squeeze(tuple(sorted((summed, kept))))


def distance(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``pairwise_distance`` of rows, and ``torch.dist`` of everything."""
    rows = "pairwise" in func.__name__
    names = ("x1", "x2", "p", "eps", "keepdim") if rows else ("input", "other", "p")
    given = {"p": 2.0, "eps": 1e-6, "keepdim": False} | dict(zip(names, args, strict=False)) | kwargs
    if given["p"] not in _PIECEWISE:
        return func(*args, **kwargs)
    difference = given[names[0]] - given[names[1]]
    return _vector_norm(tape, difference + given["eps"] if rows else difference, given["p"], -1 if rows else None, keepdim=given["keepdim"])


def _vector_norm(tape: "BranchTape", x: Tensor, order: float, dim: Any, *, keepdim: bool) -> Tensor:
    dims = tuple(range(x.dim())) if dim is None else dim
    if order == 0:
        return without_slope(tape.decide(lambda: torch.linalg.vector_norm(x, 0, dims, keepdim=keepdim)), x)
    sizes = magnitude(tape, x)
    return sizes.sum(dims, keepdim=keepdim) if order == 1 else _attained(tape, sizes, dims, largest=order > 0, keepdim=keepdim)


def _attained(tape: "BranchTape", sizes: Tensor, dims: Any, *, largest: bool, keepdim: bool = True) -> Tensor:
    """The largest, or the least, along the dimensions: the mean of the elements that attain it, as in torch's derivative."""
    mask = tape.decide(lambda: sizes == (sizes.amax if largest else sizes.amin)(dims, keepdim=True))
    shared: Tensor = torch.where(mask, sizes, 0).sum(dims, keepdim=keepdim) / mask.sum(dims, keepdim=keepdim)
    return shared


def cdist(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.cdist``. Of order 2 without the matrix product, whose rounding is far above that of the distances where they are small."""
    given = {"p": 2.0} | dict(zip(("x1", "x2", "p", "compute_mode"), args, strict=False)) | kwargs
    x1, x2, p = given["x1"], given["x2"], given["p"]
    if p == 0:
        return without_slope(tape.decide(lambda: torch.cdist(x1, x2, p)), x1, x2)
    if p not in _PIECEWISE:
        return torch.cdist(x1, x2, p, compute_mode="donot_use_mm_for_euclid_dist")
    if p == 1:
        return magnitude(tape, x1.unsqueeze(-2) - x2.unsqueeze(-3)).sum(-1)
    batch = torch.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
    x1, x2 = x1.expand(*batch, *x1.shape[-2:]), x2.expand(*batch, *x2.shape[-2:])
    column = tape.decide(lambda: (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs().argmax(-1))
    return magnitude(tape, x1.gather(-1, column) - x2.gather(-1, column.mT).mT)


def pdist(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.nn.functional.pdist``."""
    given = {"p": 2.0} | dict(zip(("input", "p"), args, strict=False)) | kwargs
    x, p = given["input"], given["p"]
    if p not in _PIECEWISE:
        return func(*args, **kwargs)
    first, second = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return _vector_norm(tape, x[first] - x[second], p, -1, keepdim=False)
