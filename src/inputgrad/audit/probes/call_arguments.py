"""Lists the values in a call of torch: its arguments, those in lists and dicts among them, and its results. Knows nothing of what is followed."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def same_values(value: Tensor, variable: Tensor) -> bool:
    """Whether it is the variable, shares its memory, or was copied from it."""
    if value is variable:
        return True
    if value.shape != variable.shape or value.dtype != variable.dtype or value.device != variable.device or not value.dim():
        return False
    return torch.equal(value.detach(), variable.detach())


def like_a_loss(value: Tensor) -> bool:
    """A number, or one number per sample; not an input that was moved along its gradient."""
    return value.dim() <= 1 or value.numel() == value.shape[0]


def dims(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    """The dimensions that a reduction runs over, as its arguments name them; None where they name none."""
    given = kwargs.get("dim", kwargs.get("axis"))
    if given is None:
        given = next((value for value in args[1:] if isinstance(value, (tuple, list)) and value and all(isinstance(item, int) for item in value)), None)
    if given is None:
        given = next((value for value in reversed(args[1:]) if isinstance(value, int) and not isinstance(value, bool)), None)
    return (given,) if isinstance(given, int) else tuple(given) if isinstance(given, (tuple, list)) else None


def given_values(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """All arguments, those in lists and dicts among them."""
    values: list[Any] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, (tuple, list, dict)):
            values.extend(flat(value, 2))
        else:
            values.append(value)
    return values


def flat(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        yield value
        return
    if depth < 4:
        for item in value:
            yield from flat(item, depth + 1)


def results(result: Any) -> Iterator[Any]:
    for value in flat(result):
        if isinstance(value, Tensor) or type(value).__name__ == "ndarray":
            yield value


def is_in_place(name: str) -> bool:
    """Whether a function of this name writes into its first argument."""
    return name.startswith("__i") or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def written_besides(name: str, args: tuple[Any, ...]) -> list[Tensor]:
    """What a call has written to and does not give back: the buffer of ``buffer[i] = value``, and the tensor that a view written to is a part of."""
    if not is_in_place(name) or not args or not isinstance(args[0], Tensor):
        return []
    whole = args[0]._base
    return ([args[0]] if name == "__setitem__" else []) + ([] if whole is None else [whole])
