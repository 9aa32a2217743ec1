"""The parts of a step's loss by name, and what is said of a term that was not due."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.step.active_terms import part_names
from inputgrad.terms.base import Weighted


def detached(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts without their graphs."""
    return {name: value.detach() for name, value in values.items()}


class Parts(dict[str, Tensor]):
    """What ``step.parts`` is: a dict of the parts of this step. A term that was not due at it (``every=4``) is not among them, and NaN where asked for."""

    def __init__(self, parts: Mapping[str, Tensor], terms: tuple[Weighted, ...]) -> None:
        super().__init__(parts)
        self._terms = terms

    def __missing__(self, name: str) -> Tensor:
        names = list(part_names(self._terms))
        if name not in names:
            raise KeyError(f"{name!r} is not a part of this loss; {nearest(name, [*self, *names])}")
        return torch.tensor(math.nan)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
