"""Labels: where a term finds the tensors that it compares the input gradient with, or masks it by.

Knows the batch; knows no term and no engine.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.devices import is_readable, moved_once
from inputgrad.errors import nearest
from inputgrad.variables import described

if TYPE_CHECKING:
    from inputgrad.batch import Batch

TensorRef = Tensor | str | int | Callable[["Batch"], Tensor]
"""A tensor, the same at each step, moved to the inputs' device once; a name or a position of the target, where that is a dict or a tuple; or a callable of
the batch."""


def check_tensor_ref(name: str, labels: Any) -> None:
    """Raises `TypeError` for what names no labels."""
    if isinstance(labels, bool) or not (isinstance(labels, (Tensor, str, int)) or callable(labels)) or isinstance(labels, type):
        raise TypeError(f"{name} must be a tensor, a name or a position of the target, or a callable of the batch; got {described(labels)}")


def check_names_part(name: str, part: Any, *, whole: bool) -> None:
    """Raises `TypeError` for a tensor, which would be the same for every batch, in place of its name; of a callable too where the base loss takes the part."""
    if part is None or (isinstance(part, (str, int)) and not isinstance(part, bool)) or (callable(part) and not whole):
        return
    setting = name.rpartition(" ")[2]
    raise TypeError(
        f"{name} is the name, or the position, of a part of the target{'' if whole else ', or a callable of the batch'}; got {described(part)}. "
        f"Write {setting}={setting!r} and give the tensor in the target: "
        f"criterion(model, inputs, {{..., {setting!r}: tensor}})"
    )


def resolve_tensor(name: str, labels: TensorRef, batch: "Batch") -> Tensor:
    """The tensor that ``labels`` is, names in the target, or gives. Raises `ValueError` where the target has no such part."""
    skipped = getattr(batch, "skipped", None)
    if isinstance(labels, Tensor):
        return without_skipped(on_batch(labels, batch), skipped)
    result = _named(name, labels, batch) if isinstance(labels, (str, int)) else labels(batch)
    if not isinstance(result, Tensor):
        raise TypeError(f"{name} must give a tensor, got {type(result).__name__}")
    return without_skipped(result, skipped)


def _named(name: str, key: str | int, batch: "Batch") -> Any:
    try:
        return part_of_target(name, key, batch.target)
    except ValueError as error:
        if isinstance(key, str) and isinstance(batch.inputs, Mapping) and key in batch.inputs:
            setting = name.rpartition(" ")[2]
            raise ValueError(f"{error}. It is one of the inputs: {setting}=lambda batch: batch.inputs[{key!r}]") from None
        raise


def on_batch(held: Tensor, batch: "Batch") -> Tensor:
    """A tensor that a term holds, on the device of the inputs; copied there once."""
    return held if held.device == batch.device else moved_once(held, batch.device)


def part_of_target(name: str, key: str | int, target: Any) -> Any:
    """The part of the target under a name or a position."""
    if isinstance(key, str) and isinstance(target, Mapping):
        if key in target:
            return target[key]
        raise ValueError(f"{name}={key!r} is not a part of the target; {nearest(key, target)}")
    if isinstance(key, int) and isinstance(target, (tuple, list)):
        if -len(target) <= key < len(target):
            return target[key]
        raise ValueError(f"{name}={key} is not a part of the target, which has {len(target)}")
    wanted = "a dict" if isinstance(key, str) else "a tuple"
    raise ValueError(f"{name}={key!r} names a part of the target, which must then be {wanted}; got {type(target).__name__}: criterion(model, inputs, target)")


def skipped_samples(name: str, weights: Tensor) -> Tensor | None:
    """Which samples have the weight 0, ``[N]``; None where a look without a wait tells that none has. Raises `ValueError` for NaN and infinite weights."""
    if is_readable(weights):
        if not math.isfinite(weights.sum().item()) and (bad := int((~weights.isfinite()).sum())):
            raise ValueError(f"{name}: {bad} of {weights.numel()} weights are NaN or infinite: give finite numbers, 0 for a sample that does not count")
        if bool(weights.all()):
            return None
    return weights == 0


def without_skipped(value: Any, skipped: Tensor | None) -> Any:
    """Labels, nested or not, with 0 in the place of NaN and infinity in the rows of samples that are skipped: NaN times the weight 0 would be NaN."""
    if skipped is None:
        return value
    if isinstance(value, Tensor):
        if not value.is_floating_point() or not value.dim() or value.shape[0] != skipped.shape[0]:
            return value
        rows = skipped.to(value.device).reshape(-1, *[1] * (value.dim() - 1))
        return torch.where(rows, value.nan_to_num(0.0, 0.0, 0.0), value)
    if isinstance(value, Mapping):
        return {key: without_skipped(part, skipped) for key, part in value.items()}
    return type(value)(without_skipped(part, skipped) for part in value) if type(value) in (tuple, list) else value


def times_weights(values: Tensor, weights: Tensor, skipped: Tensor | None) -> Tensor:
    """Each sample's number times its weight; 0, in value and gradient, where the sample is skipped."""
    product = values * weights.to(values)
    return product if skipped is None else torch.where(skipped.to(product.device), 0, product)
