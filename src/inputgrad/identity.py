"""What tells one head, place or function of the user's from another. Knows nothing of the rest."""

import functools
import weakref
from collections.abc import Callable, Hashable
from types import CellType, CodeType, FunctionType, NoneType
from typing import Any

from torch import Tensor


def identity_of(function: Callable[..., Any]) -> Hashable:
    """What tells a function from others and keeps nothing alive: its code with what it closes over, where it has any, the same for each lambda of a line.

    A weak reference for other objects, where it can be had.
    """
    if type(function) is FunctionType and function.__closure__ is None and function.__defaults__ is None:
        return (function.__code__, NoneType)  # as below, at once
    if isinstance(function, functools.partial):
        return (identity_of(function.func), *map(sketch, function.args), *((name, sketch(value)) for name, value in function.keywords.items()))
    if not isinstance(code := getattr(function, "__code__", None), CodeType):
        try:
            return weakref.ref(function)
        except TypeError:
            return id(function)
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if cell != CellType()]  # an empty cell holds nothing
    return (code, *map(sketch, (getattr(function, "__self__", None), *(getattr(function, "__defaults__", None) or ()), *held)))


def sketch(value: Any) -> Hashable:
    """What a function holds: numbers of outputs and names by value, objects by a weak reference, what is made anew at each step, as tensors are, by type."""
    kind: Any = type(value)
    if isinstance(value, (int, str)):
        return (kind, value)
    if isinstance(code := getattr(value, "__code__", None), CodeType):
        return code
    if isinstance(value, Tensor) or not isinstance(value, Hashable):
        return kind
    try:
        reference = weakref.ref(value)
        hash(reference)
    except TypeError:
        return kind
    return reference


def check_hashable(name: str, value: Any) -> None:
    """Raises `TypeError` for heads and places by which no gradient could be found again."""
    try:
        hash(value)
    except TypeError as error:
        kind = type(value).__name__
        raise TypeError(f"{name} is an object of {kind}, which cannot be hashed: a head or place of your own is a @dataclass(frozen=True)") from error
