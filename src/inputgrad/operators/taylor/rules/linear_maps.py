"""Functions that are linear in one tensor: shapes, indexing, sums. Applied to each block as to the value, a dimension further."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inputgrad.operators.taylor.algebra import full, padded
from inputgrad.operators.taylor.jet import RULES, Jet, forms, jets_in, rule_for


def checked(func: Any, x: Any, *rest: Any) -> Jet:
    """The jet, where it is the only one among the arguments."""
    if not isinstance(x, Jet) or jets_in(*rest):
        raise jets_in(x, *rest)[0].run.refuse(f"{getattr(func, '__name__', func)} with these arguments has no rule")
    return x


def results(x: Jet, value: Any, function: Callable[[Tensor], Any]) -> Any:
    """The jet of a linear function of x, or a tuple of jets where it gives several tensors. They may share memory with x."""
    x.shares = True
    found = [None if block is None else function(block) for block in x.blocks]
    if isinstance(value, Tensor):
        return Jet(value, tuple(found), x.run, is_shared=True)
    return tuple(Jet(part, tuple(None if parts is None else parts[i] for parts in found), x.run, is_shared=True) for i, part in enumerate(value))


def same_for_samples(x: Jet, block: Tensor) -> bool:
    """Whether a block is the same for every sample, and of full size otherwise."""
    return bool(x.dim()) and block.shape[1] == 1 != x.shape[0] and block.shape[2:] == x.shape[1:]


def shifted(dim: Any) -> Any:
    """A dimension's number, or several, behind the blocks' own first one."""
    if isinstance(dim, (tuple, list)):
        return tuple(shifted(d) for d in dim)
    return dim + 1 if isinstance(dim, int) and dim >= 0 else dim


def by_dimension(place: int, default: int | None, *names: str) -> None:
    """Functions with a dimension among their arguments, at this place behind x or as ``dim=``. default: the one that is meant where none is given."""

    def rule(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        checked(func, x, *args, *kwargs.values())
        moved, named = list(args), dict(kwargs)
        if "dim" in named:
            named["dim"] = shifted(named["dim"])
        elif len(moved) > place:
            moved[place] = shifted(moved[place])
        elif default is not None:
            named["dim"] = shifted(default)
        return results(x, func(x.value, *args, **kwargs), lambda block: func(full(block, x.shape), *moved, **named))

    RULES.update(dict.fromkeys(forms(*names), rule))


by_dimension(0, 0, "unbind")
by_dimension(0, None, "select", "narrow", "index_select", "cumsum")
by_dimension(1, 0, "split", "chunk", "tensor_split")


def by_dimensions(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Every argument is a dimension."""
    checked(func, x, *args, *kwargs.values())
    named = {key: shifted(dim) for key, dim in kwargs.items()}
    return results(x, func(x.value, *args, **kwargs), lambda block: func(full(block, x.shape), *[shifted(dim) for dim in args], **named))


RULES.update(dict.fromkeys(forms("transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "flip"), by_dimensions))


@rule_for(*forms("reshape", "view", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "view_as", "reshape_as"))
def reshaped(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    if any(isinstance(argument, torch.dtype) for argument in args):
        raise checked(func, x).run.refuse("view as another type has no rule")
    shapes = [argument.value if isinstance(argument, Jet) else argument for argument in args]
    value = func(checked(func, x, *kwargs.values()).value, *shapes, **kwargs)
    rows = value.shape[:1] == x.shape[:1]

    def reshape(block: Tensor) -> Tensor:
        if rows and same_for_samples(x, block):
            return block.reshape(block.shape[0], 1, *value.shape[1:])
        return full(block, x.shape).reshape(block.shape[0], *value.shape)

    return results(x, value, reshape)


@rule_for(*forms("permute"))
def permute(func: Any, x: Any, *dims: Any, **kwargs: Any) -> Any:
    order = kwargs.pop("dims", dims[0] if dims and not isinstance(dims[0], int) else dims)
    value = torch.permute(checked(func, x).value, tuple(order))
    return results(x, value, lambda block: torch.permute(full(block, x.shape), (0, *[d % x.dim() + 1 for d in order])))


_PROPERTIES = [getattr(Tensor, name).__get__ for name in ("T", "mT")]


@rule_for(*_PROPERTIES, *forms("t", "adjoint"))
def transposed(func: Any, x: Jet) -> Any:
    if x.dim() != 2 and func not in (_PROPERTIES[1], torch.adjoint, Tensor.adjoint):
        raise x.run.refuse("T of other than a matrix has no rule")
    return results(x, x.value.mT, lambda block: full(block, x.shape).mT)


@rule_for(*forms("expand", "broadcast_to", "expand_as"))
def expand(func: Any, x: Any, *sizes: Any, **kwargs: Any) -> Any:
    shapes = [size.value if isinstance(size, Jet) else size for size in sizes]
    value = func(checked(func, x).value, *shapes, **kwargs)
    return results(x, value, lambda block: padded(block, value.dim()))


@rule_for(*forms("to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda"))
def converted(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    like = [argument.value if isinstance(argument, Jet) else argument for argument in args]
    if not isinstance(x, Jet):
        return func(x, *like, **kwargs)
    value = func(x.value, *like, **kwargs)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    if torch.finfo(value.dtype).bits < torch.finfo(x.dtype).bits:
        raise x.run.refuse("a conversion to lower precision has no rule")
    return results(x, value, lambda block: block.to(value.device, value.dtype))


@rule_for(*forms("sum", "mean", "nansum"))
def summed(func: Any, x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
    if out is not None or kwargs or func in forms("nansum"):
        raise checked(func, x).run.refuse("sum with these arguments has no rule")
    dim = axis if dim is None else dim
    over = [d % x.dim() + 1 for d in ([dim] if isinstance(dim, int) else dim or range(x.dim()))]
    value = func(checked(func, x).value, dim, keepdim, dtype=dtype) if x.dim() else func(x.value, dtype=dtype)

    def reduced(block: Tensor) -> Tensor:
        kept = same_for_samples(x, block) and 1 not in over
        return func(block if kept else full(block, x.shape), over, keepdim, dtype=dtype) if over else block

    return results(x, value, reduced)


@rule_for(Tensor.__getitem__)
def indexed(func: Any, x: Any, index: Any) -> Any:
    if not isinstance(x, Jet):
        raise jets_in(index)[0].run.refuse("a jet as an index")
    checked(func, x, index)
    parts = index if isinstance(index, tuple) else (index,)
    value = x.value[index]
    tensors = [part for part in parts if isinstance(part, (Tensor, list)) or hasattr(part, "__array__")]
    if len(tensors) > 1:
        return results(x, value, lambda block: torch.vmap(lambda row: row[index])(full(block, x.shape)))
    as_it_is = parts[:1] == (slice(None),) if isinstance(parts[0], slice) else parts[0] is Ellipsis and len(parts) <= x.dim() and None not in parts[1:]
    return results(x, value, lambda block: (block if as_it_is and same_for_samples(x, block) else full(block, x.shape))[(slice(None), *parts)])


def by_vmap(func: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Any function that is linear in its first argument: `torch.vmap` knows where the dimensions are."""
    checked(func, x, *args, *kwargs.values())
    return results(x, func(x.value, *args, **kwargs), lambda block: torch.vmap(lambda row: func(row, *args, **kwargs))(full(block, x.shape)))


LINEAR = (
    "repeat", "tile", "repeat_interleave", "roll", "rot90", "fliplr", "flipud", "diagonal", "diag", "diag_embed", "diagflat", "trace", "tril", "triu",
    "gather", "take_along_dim", "unfold", "fold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate", "hsplit", "vsplit", "dsplit", "diff", "trapezoid", "trapz",
)  # fmt: skip
RULES.update(dict.fromkeys(forms(*LINEAR), by_vmap))


@rule_for(torch.nn.functional.pad)
def pad(func: Any, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    padded_value = func(checked(func, x).value, pad, mode, value)
    if mode == "constant":
        return results(x, padded_value, lambda block: func(full(block, x.shape), pad))
    return results(x, padded_value, lambda block: torch.vmap(lambda row: func(row, pad, mode))(full(block, x.shape)))
