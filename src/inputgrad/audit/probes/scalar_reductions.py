"""Tells whether a number is a mean over the samples, or the plain sum of all outputs. Knows one call of torch and the notes of its arguments."""

from typing import Any, NamedTuple

from torch import Tensor

from inputgrad.audit.probes.operation_names import ADDING, AVERAGING, SCALING
from inputgrad.audit.probes.tensor_notes import TensorNote


class Reduction(NamedTuple):
    """N, where a number is a mean over N samples; C, where it is the sum of C > 1 outputs per sample."""

    mean_over: int | None = None
    summed_outputs: int | None = None


def reduction(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Any], noted: list[tuple[Any, TensorNote]], result: Any) -> Reduction:
    """What the result of a call is. given: all its arguments; noted: those that something is known of."""
    made = Reduction(_mean(name, given, kwargs, result), _sum(name, args, result))
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


def _kept(name: str, given: list[Any], noted: list[tuple[Any, TensorNote]]) -> Reduction:
    """A mean stays one under a sign, a factor that does not undo it, and beside means over as many; a sum of outputs likewise."""
    tensors = [value for value in given if isinstance(value, Tensor)]
    if name not in SCALING or any(value.dim() for value in tensors) or len(tensors) != len(noted) or (len(noted) > 1 and name not in ADDING):
        return Reduction()
    means, sums = {note.mean_over for _, note in noted}, {note.summed_outputs for _, note in noted}
    averaged, summed = (items.pop() if len(items) == 1 else None for items in (means, sums))
    factors = [float(value) for value in given if isinstance(value, (int, float)) and value]
    undone = averaged is not None and any(abs(abs(factor * other) - 1) < 1e-6 for factor in factors for other in (averaged, 1 / averaged))
    return Reduction(None if undone else averaged, summed)
