"""Labels: where a term finds the tensors that it compares the input gradient with, or masks it by.

Knows the batch; knows no term and no engine.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inputgrad.devices import moved_once
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
        f"{name} is the name, or the position, of a part of the target; got {described(part)}. Write {setting}={setting!r} and give the tensor in the target: "
        f"criterion(model, inputs, {{..., {setting!r}: tensor}})"
    )


def resolve_tensor(name: str, labels: TensorRef, batch: "Batch") -> Tensor:
    """The tensor that ``labels`` is, names in the target, or gives. Raises `ValueError` where the target has no such part."""
    if isinstance(labels, Tensor):
        return on_batch(labels, batch)
    result = _named(name, labels, batch) if isinstance(labels, (str, int)) else labels(batch)
    if not isinstance(result, Tensor):
        raise TypeError(f"{name} must give a tensor, got {type(result).__name__}")
    return result


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
