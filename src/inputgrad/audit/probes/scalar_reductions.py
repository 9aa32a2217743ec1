"""Tells whether a number is a mean over the samples, or the plain sum of all outputs. Knows one call of torch and the notes of its arguments."""

import math
from typing import Any, NamedTuple

from torch import Tensor

from inputgrad.audit.probes.operation_names import ADDING, AVERAGING, DIVIDING, SCALING
from inputgrad.audit.probes.tensor_notes import TensorNote


class Reduction(NamedTuple):
    """N, where a number is a mean over N samples; C, where it is the sum of C > 1 outputs per sample."""

    mean_over: int | None = None
    summed_outputs: int | None = None
    sum_of: tuple[int, ...] = ()
    """The shape of what was summed, where a number is a sum over samples: divided by their number it is a mean."""


def reduction(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Any], noted: list[tuple[Any, TensorNote]], result: Any) -> Reduction:
    """What the result of a call is. given: all its arguments; noted: those that something is known of."""
    made = Reduction(_mean(name, given, kwargs, result), _sum(name, args, result), _sum_of(name, given, kwargs, result))
    return _kept(name, given, noted) if noted and made == Reduction() else made


def _mean(name: str, given: list[Any], kwargs: dict[str, Any], result: Any) -> int | None:
    if name not in AVERAGING or not isinstance(result, Tensor) or result.dim() != 0 or kwargs.get("reduction", "mean") != "mean":
        return None
    first = next((value for value in given if isinstance(value, Tensor)), None)
    if "sum" in given or "none" in given or first is None or first.dim() == 0 or first.shape[0] < 2:
        return None
    return first.shape[0]


def _sum(name: str, args: tuple[Any, ...], result: Any) -> int | None:
    if name != "sum" or not isinstance(result, Tensor) or result.dim() != 0 or not isinstance(args[0] if args else None, Tensor):
        return None
    return args[0].shape[1] if args[0].dim() == 2 and args[0].shape[1] > 1 else None


def _sum_of(name: str, given: list[Any], kwargs: dict[str, Any], result: Any) -> tuple[int, ...]:
    """The shape of what was summed to one number, by ``sum`` or by a loss with ``reduction="sum"``."""
    if not isinstance(result, Tensor) or result.dim() != 0:
        return ()
    summed = name == "sum" or (name in AVERAGING and (kwargs.get("reduction") == "sum" or "sum" in given))
    first = next((value for value in given if isinstance(value, Tensor)), None)
    return tuple(first.shape) if summed and first is not None and first.dim() and first.shape[0] > 1 else ()


def _divided(name: str, given: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether a sum is divided by the number of its samples, or of its values: by a whole number, as ``len(x)`` and ``x.shape[0]`` are."""
    return bool(shape) and name in DIVIDING and any(type(value) is int and value in (shape[0], math.prod(shape)) for value in given)


def _kept(name: str, given: list[Any], noted: list[tuple[Any, TensorNote]]) -> Reduction:
    """A mean stays one under a sign, a factor that does not undo it, and beside means over as many; a sum of outputs likewise."""
    tensors = [value for value in given if isinstance(value, Tensor)]
    if name not in SCALING or any(value.dim() for value in tensors) or len(tensors) != len(noted) or (len(noted) > 1 and name not in ADDING):
        return Reduction()
    means, sums = {note.mean_over for _, note in noted}, {note.summed_outputs for _, note in noted}
    averaged, summed = (items.pop() if len(items) == 1 else None for items in (means, sums))
    shapes = {note.sum_of for _, note in noted}
    shape = min(shapes) if len({sizes[:1] for sizes in shapes}) == 1 else ()
    if _divided(name, given, shape):
        return Reduction(shape[0])
    factors = [float(value) for value in given if isinstance(value, (int, float)) and value]
    undone = averaged is not None and any(abs(abs(factor * other) - 1) < 1e-6 for factor in factors for other in (averaged, 1 / averaged))
    return Reduction(None if undone else averaged, summed, shape)
