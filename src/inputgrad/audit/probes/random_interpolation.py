"""Follows points between samples: which random draw weighs the two ends of a mixture ``a * x + (1 - a) * y``. Knows no probe.

The draw is followed from torch's generator through what changes its shape but not its values, until the two products are added.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.call_sites import Site, here

_UNIFORM = {"rand", "rand_like", "uniform_"}
_NORMAL = {"randn", "randn_like", "normal_"}
_KEPT = {"to", "cuda", "cpu", "float", "double", "half", "type", "type_as", "expand", "expand_as", "view", "view_as", "reshape", "unsqueeze", "repeat",
         "contiguous", "requires_grad_", "clone", "detach", "__getitem__", "broadcast_to", "data"}  # fmt: skip
_PLUS, _MINUS, _TIMES = {"add", "__add__", "__radd__", "add_"}, {"sub", "__sub__", "__rsub__", "rsub"}, {"mul", "__mul__", "__rmul__"}
_INTERESTING = _UNIFORM | _NORMAL | _KEPT | _PLUS | _MINUS | _TIMES | {"lerp"}


@dataclass(frozen=True, eq=False)
class RandomDraw:
    """One random draw: its generator's law, how many numbers, where."""

    law: Literal["uniform", "normal"]
    shape: tuple[int, ...]
    site: Site


class _Part(NamedTuple):
    """What a tensor is in a mixture. base: the other end's identity, for ``y + a * (x - y)``."""

    role: Literal["weight", "rest", "product", "rest product", "difference", "moved", "mixture"]
    draw: RandomDraw | None
    base: int = 0


Parts = frozenset[_Part]
_NONE: Parts = frozenset()


class InterpolationTracker:
    """The random draws of one run, and what was mixed by them."""

    def __init__(self) -> None:
        self._parts: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def mixed(self, tensor: Tensor) -> RandomDraw | None:
        """The draw that mixed this tensor of two others."""
        return next((part.draw for part in self._of(tensor) if part.role == "mixture"), None)

    def follow(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        if name not in _INTERESTING or not isinstance(result, Tensor) or not result.dim():
            return
        if name in _UNIFORM or name in _NORMAL:
            self._parts[result] = frozenset({_Part("weight", RandomDraw("uniform" if name in _UNIFORM else "normal", tuple(result.shape), here()))})
        elif parts := self._made(name, args):
            self._parts[result] = parts

    def _of(self, value: Any) -> Parts:
        return self._parts.get(value, _NONE) if isinstance(value, Tensor) else _NONE

    def _made(self, name: str, args: tuple[Any, ...]) -> Parts:
        first, second = (*args, None, None)[:2]
        if name in _KEPT:
            return self._of(first)
        if name == "lerp":
            return frozenset(_Part("mixture", part.draw) for part in self._of(args[-1]) if part.role == "weight")
        if name in _MINUS:
            return self._difference(*((second, first) if name in ("__rsub__", "rsub") else (first, second)))
        both = self._of(first) | self._of(second)
        return _product(both) if name in _TIMES else _sum(both, {id(first), id(second)})

    def _difference(self, of: Any, taken: Any) -> Parts:
        one = of == 1 if isinstance(of, (int, float)) else isinstance(of, Tensor) and bool((of == 1).all())
        rests = {_Part("rest", part.draw) for part in self._of(taken) if part.role == "weight"} if one else set()
        return frozenset(rests | ({_Part("difference", None, id(taken))} if isinstance(of, Tensor) and isinstance(taken, Tensor) else set()))


def _product(parts: Parts) -> Parts:
    weights = [part.draw for part in parts if part.role == "weight"]
    moved = {_Part("moved", draw, part.base) for part in parts if part.role == "difference" for draw in weights}
    return frozenset({_Part("product", draw) for draw in weights} | {_Part("rest product", part.draw) for part in parts if part.role == "rest"} | moved)


def _sum(parts: Parts, summands: set[int]) -> Parts:
    by = {role: {part.draw for part in parts if part.role == role} for role in ("product", "rest product")}
    moved = {part.draw for part in parts if part.role == "moved" and part.base in summands}
    return frozenset(_Part("mixture", draw) for draw in (by["product"] & by["rest product"]) | moved)
