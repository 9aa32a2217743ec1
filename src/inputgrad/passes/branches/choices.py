"""Rules of `branches` for functions that choose elements: max, sort, median and the like, and max-pools. What was chosen at x is chosen again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.passes.branches.norms import sides

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape


def chosen(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """max, min, sort, topk, … along a dimension: values gathered at the recorded indices. Without a dimension, or of two tensors: by masks."""
    x, *rest = args
    if (rest and isinstance(rest[0], Tensor)) or isinstance(kwargs.get("other"), Tensor):
        return larger(tape, func, args, kwargs)
    found = func(*args, **kwargs)
    if isinstance(found, Tensor):
        return extreme(tape, func, args, kwargs)
    dim = kwargs.get("dim", _dimension(func.__name__, rest))
    indices = tape.decide(lambda: found.indices)
    kept = kwargs.get("keepdim", False) or found.indices.dim() == x.dim()
    values = x.gather(dim, indices if kept else indices.unsqueeze(dim))
    return type(found)((values if kept else values.squeeze(dim), indices))


def _dimension(name: str, rest: list[Any]) -> int:
    if name in ("topk", "kthvalue"):
        return rest[1] if len(rest) > 1 else -1
    return rest[0] if rest and not isinstance(rest[0], bool) else -1


def extreme(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """amax, amin, or max, min and median over everything: the mean of the elements that attain it, as in torch's derivative."""
    x, *rest = args
    dim = kwargs.get("dim", rest[0] if rest else ())
    dims = tuple(range(x.dim())) if dim is None or dim == () or dim == [] else dim
    keep = bool(kwargs.get("keepdim", rest[1] if len(rest) > 1 else False))
    whole = {"median": torch.median, "nanmedian": torch.nanmedian}.get(func.__name__)
    mask = tape.decide(lambda: x == (whole(x) if whole else getattr(x, "amax" if "max" in func.__name__ else "amin")(dims, keepdim=True)))
    return torch.where(mask, x, 0).sum(dims, keepdim=keep) / mask.sum(dims, keepdim=keep)


def larger(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Where both are equal each has half of the derivative; in fmax and fmin the first has all of it."""
    a, b = args if len(args) == 2 else (args[0], kwargs["other"])
    side = tape.decide(lambda: sides(a - b) if "max" in func.__name__ else sides(b - a))
    equal = a if func.__name__.startswith("f") else torch.where(side == 0, (a + b) / 2, a)
    return torch.where(side > 0, a, torch.where(side < 0, b, equal))


def pool(indexed: Callable[..., tuple[Tensor, Tensor]], dimensions: int, *, random: bool = False) -> Callable[..., Any]:
    def rule(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["input"]
        settings = {name: value for name, value in kwargs.items() if name != "return_indices"}
        drawn = indexed(*args, **settings)[1] if random else None  # in replays too, so that the random state after it is the same
        indices = tape.decide(lambda: indexed(*args, **settings)[1] if drawn is None else drawn)
        values = x.flatten(-dimensions).gather(-1, indices.flatten(-dimensions)).view(indices.shape)
        wanted = kwargs.get("return_indices", False) or func.__name__.endswith("_with_indices")
        return (values, indices) if wanted else values

    return rule
