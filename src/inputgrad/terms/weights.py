"""Weights: a number, or a callable of the step number. And what is found under its name, so that it can be pickled. Knows no term."""

import importlib
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor

Weight = float | Callable[[int], float]
"""A number, or a callable of the step number that gives one."""


@dataclass(frozen=True)
class WeightProduct:
    """The product of two weights at least one of which is a callable of the step number. As picklable as they are."""

    first: Weight
    second: Weight

    def __call__(self, step: int) -> float:
        return at_step(self.first, step) * at_step(self.second, step)


def product(first: Weight, second: Weight) -> Weight:
    """Of two weights: a number where both are."""
    return WeightProduct(first, second) if callable(first) or callable(second) else first * second


def at_step(weight: Weight, step: int) -> float:
    return weight(step) if callable(weight) else weight


def is_weight(weight: Any) -> bool:
    if isinstance(weight, (bool, type)) or hasattr(weight, "weighted"):  # a term is no weight
        return False
    return isinstance(weight, (int, float)) or callable(weight)


def number(factor: Any) -> Any:
    """A float for numpy's numbers and for tensors of one; anything else as it is. Raises `TypeError` for what can be no weight."""
    if factor is None or isinstance(factor, (str, list, tuple, dict)):
        raise TypeError(
            f"a weight is a number or a callable of the step number, got {type(factor).__name__}. Recipes take the weight first and other settings by "
            "name: ig.recipes.NAME(0.1, setting=...)"
        )
    if isinstance(factor, Tensor):
        if factor.requires_grad:
            raise TypeError("a weight is a constant, and this tensor requires grad: for weights that learn, weigh the parts of criterion.losses(...) yourself")
        if factor.numel() != 1:
            raise TypeError(
                f"a weight is one number, got a tensor of shape {list(factor.shape)}. For one weight per sample write term.sample_weight('w'), with the "
                "weights in the target, {'y': y, 'w': w}, or term.sample_weight(lambda batch: ...)"
            )
        return float(factor)
    return float(factor) if isinstance(factor, Real) and not isinstance(factor, (int, float)) else factor


def found(module: str | None, name: str | None) -> Any:
    """What stands in a loaded module under a qualified name; None where nothing does."""
    try:
        return operator.attrgetter(name or "")(sys.modules[module or ""])
    except (AttributeError, KeyError):
        return None


def by_name(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))
