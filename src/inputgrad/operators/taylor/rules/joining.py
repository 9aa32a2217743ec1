"""Functions that are linear in several tensors: concatenation, stacking, choices by a constant condition."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.operators.taylor.algebra import full, padded
from inputgrad.operators.taylor.jet import Jet, forms, jets_in, rule_for, value_of
from inputgrad.operators.taylor.rules.elementwise import written


def _joined(func: Any, tensors: Sequence[Any], dim: int) -> Jet:
    """cat or stack of jets and constants; blocks that are the same for every sample stay so where all are."""
    jets = jets_in(*tensors)
    run, values = jets[0].run, [value_of(tensor) for tensor in tensors]
    value = func(values, dim)
    place = dim % (value.dim()) + 1
    blocks: list[Tensor | None] = []
    for number, description in enumerate(run.layout.blocks):
        parts = [jet.blocks[number] for jet in jets]
        present = [part for part in parts if part is not None]
        if not present:
            blocks.append(None)
            continue
        together = place != 1 and all(part.shape[1:2] == (1,) for part in present)
        rows = 1 if description.weights is not None else len(description.members)
        blocks.append(func([_whole(tensor, number, rows, together) for tensor in tensors], place))
    return Jet(value, tuple(blocks), run)


def _whole(tensor: Any, number: int, rows: int, together: bool) -> Tensor:
    """The block of a jet or a constant, of full size but for samples that are alike."""
    shape = torch.Size((1, *tensor.shape[1:])) if together else tensor.shape
    block = tensor.blocks[number] if isinstance(tensor, Jet) else None
    return value_of(tensor).new_zeros(()).expand(rows, *shape) if block is None else full(block, shape)


@rule_for(*forms("cat", "concat", "concatenate"))
def cat(func: Any, tensors: Any, dim: int = 0, *, axis: Any = None, out: Any = None) -> Jet:
    if out is not None:
        raise jets_in(*tensors)[0].run.refuse("cat with out= has no rule")
    return _joined(torch.cat, tensors, dim if axis is None else axis)


@rule_for(*forms("stack"))
def stack(func: Any, tensors: Any, dim: int = 0, *, out: Any = None) -> Jet:
    if out is not None:
        raise jets_in(*tensors)[0].run.refuse("stack with out= has no rule")
    return _joined(torch.stack, tensors, dim)


@rule_for(*forms("hstack", "vstack", "dstack", "column_stack", "row_stack"))
def other_stacks(func: Any, tensors: Any) -> Any:
    name, two = func.__name__, tensors[0].dim() == 2
    if not two or name == "dstack":
        raise jets_in(*tensors)[0].run.refuse(f"{name} of other than matrices has no rule")
    return torch.cat(list(tensors), 1 if name in ("hstack", "column_stack") else 0)


@rule_for(torch.where)
def where(func: Any, condition: Any, a: Any, b: Any) -> Any:
    return chosen(condition, a, b)


@rule_for(Tensor.where)
def where_method(func: Any, a: Any, condition: Any, b: Any) -> Any:
    return chosen(condition, a, b)


def chosen(condition: Tensor, a: Any, b: Any) -> Jet:
    """a where the condition holds, else b."""
    run = jets_in(a, b)[0].run
    value = torch.where(condition, value_of(a), value_of(b))
    found: list[Tensor | None] = []
    for number in range(len(run.layout.blocks)):
        one, other = (_block(part, number, value.dim()) for part in (a, b))
        if one is None and other is None:
            found.append(None)
        else:
            found.append(torch.where(condition, 0.0 if one is None else one, 0.0 if other is None else other))
    return Jet(value, tuple(found), run)


def _block(tensor: Any, number: int, dimensions: int) -> Tensor | None:
    block = tensor.blocks[number] if isinstance(tensor, Jet) else None
    return None if block is None else padded(block, dimensions)


@rule_for(*forms("masked_fill"))
def masked_fill(func: Any, x: Any, mask: Tensor, value: Any) -> Any:
    return chosen(mask, value if isinstance(value, Tensor) else torch.full((), value, dtype=x.dtype, device=x.device), x)


@rule_for(*forms("masked_fill_"))
def masked_fill_(func: Any, x: Any, mask: Tensor, value: Any) -> Any:
    return written(x, masked_fill(func, x, mask, value))


@rule_for(*forms("maximum", "minimum", "fmax", "fmin"))
def extreme(func: Any, a: Any, b: Any) -> Any:
    if func in forms("fmax", "fmin"):
        raise jets_in(a, b)[0].run.refuse("fmax has no rule")
    here, other = value_of(a).detach(), value_of(b).detach()
    if bool((here == other).any()):
        raise jets_in(a, b)[0].run.refuse("maximum of equal values has no rule")
    return chosen(here > other if func in forms("maximum") else here < other, a, b)


@rule_for(*forms("cross"))
def cross(func: Any, a: Any, b: Any, dim: Any = None) -> Any:
    last = a.dim() - 1
    if (dim is None and func is not torch.linalg.cross) or (dim if dim is not None else -1) not in (-1, last) or a.shape != b.shape:
        raise jets_in(a, b)[0].run.refuse("a cross product over other than the last dimension has no rule")
    (a0, a1, a2), (b0, b1, b2) = a.unbind(-1), b.unbind(-1)
    return torch.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1)
