"""Points between samples: which random draw weighs the two ends of a mixture ``a * x + (1 - a) * y``.

The draw is followed from torch's generator through what changes its shape but not its values, until the two products are added.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.sites import Site, here

_UNIFORM = {"rand", "rand_like", "uniform_"}
_NORMAL = {"randn", "randn_like", "normal_"}
_KEPT = {"to", "cuda", "cpu", "float", "double", "half", "type", "type_as", "expand", "expand_as", "view", "view_as", "reshape", "unsqueeze", "repeat",
         "contiguous", "requires_grad_", "clone", "detach", "__getitem__", "broadcast_to", "data"}  # fmt: skip
_PLUS, _MINUS, _TIMES = {"add", "__add__", "__radd__", "add_"}, {"sub", "__sub__", "__rsub__", "rsub"}, {"mul", "__mul__", "__rmul__"}
_INTERESTING = _UNIFORM | _NORMAL | _KEPT | _PLUS | _MINUS | _TIMES | {"lerp"}


@dataclass(frozen=True, eq=False)
class Draw:
    """One random draw: its generator's law, how many numbers, where."""

    law: Literal["uniform", "normal"]
    shape: tuple[int, ...]
    site: Site


@dataclass(frozen=True, eq=False)
class _Part:
    """A tensor's part in a mixture. base: the other end, for ``y + a * (x - y)``."""

    draw: Draw | None
    role: Literal["weight", "rest", "product", "rest product", "difference", "moved", "mixture"]
    base: int = 0


class Draws:
    """The draws of one run, and what was mixed by them."""

    def __init__(self) -> None:
        self._parts: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def mixed(self, tensor: Tensor) -> Draw | None:
        """The draw that mixed this tensor of two others."""
        part = self._parts.get(tensor)
        return part.draw if part is not None and part.role == "mixture" else None

    def follow(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        if name not in _INTERESTING or not isinstance(result, Tensor):
            return
        if name in _UNIFORM or name in _NORMAL:
            if result.dim():
                self._parts[result] = _Part(Draw("uniform" if name in _UNIFORM else "normal", tuple(result.shape), here()), "weight")
            return
        part = self._part(name, args, list(self._known(args)))
        if part is not None:
            self._parts[result] = part

    def _known(self, args: tuple[Any, ...]) -> Iterator[tuple[Tensor, _Part]]:
        for value in args:
            if isinstance(value, Tensor) and (part := self._parts.get(value)) is not None:
                yield value, part

    def _part(self, name: str, args: tuple[Any, ...], known: list[tuple[Tensor, _Part]]) -> _Part | None:
        parts = {part.role: part for _, part in known}
        tensors = [value for value in args if isinstance(value, Tensor)]
        if name in _KEPT:
            return known[0][1] if known and known[0][0] is args[0] else None
        if name == "lerp":
            return replace(known[-1][1], role="mixture") if known and known[-1][0] is args[-1] and known[-1][1].role == "weight" else None
        if name in _MINUS:
            return _difference(tensors, args, parts)
        if name in _TIMES:
            return _product(parts)
        return _sum(tensors, parts)


def _difference(tensors: list[Tensor], args: tuple[Any, ...], parts: dict[Any, _Part]) -> _Part | None:
    if "weight" in parts and parts["weight"].draw is not None and (any(isinstance(value, (int, float)) and value == 1 for value in args) or len(tensors) == 2):
        return replace(parts["weight"], role="rest")
    return _Part(None, "difference", id(tensors[1])) if len(tensors) == 2 else None


def _product(parts: dict[Any, _Part]) -> _Part | None:
    if "weight" in parts and "difference" in parts:
        return replace(parts["weight"], role="moved", base=parts["difference"].base)
    found = parts.get("weight") or parts.get("rest")
    return replace(found, role="product" if found.role == "weight" else "rest product") if found is not None else None


def _sum(tensors: list[Tensor], parts: dict[Any, _Part]) -> _Part | None:
    if "product" in parts and "rest product" in parts and parts["product"].draw is parts["rest product"].draw:
        return replace(parts["product"], role="mixture")
    if "moved" in parts and any(id(value) == parts["moved"].base for value in tensors):
        return replace(parts["moved"], role="mixture")
    return None
