"""Lineage: what is known of each tensor of the user's, kept beside it without keeping it alive. Follows values through torch's functions.

The rules of following: a result comes from what its arguments come from. It is alive where autograd goes on; it is cut where an operation ends the graph. A
summand without a graph that comes from an input gradient, added to one that has a graph, is a dead term; it stays one through what is linear.
"""

import contextlib
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit import graph
from inputgrad.audit.facts import Source
from inputgrad.audit.marks import EMPTY, Mark, Number
from inputgrad.audit.sites import Site, here
from inputgrad.audit.trails import Cut, Dead, Trail, Use
from inputgrad.audit.values import dims, flat, given_values, like_a_loss, results, same_values

CUTTING = {"detach", "detach_", "numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__array__"}
ADDING = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__rsub__", "__isub__", "rsub", "stack", "cat", "concat", "hstack"}
LINEAR = ADDING | {
    "mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "div_", "__truediv__", "__itruediv__", "true_divide", "neg", "__neg__", "mean", "sum", "clone",
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "to", "float", "double", "contiguous", "view_as", "__getitem__", "nanmean", "nansum", "expand",
}  # fmt: skip
MEANS = {"mean", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "cross_entropy", "nll_loss", "binary_cross_entropy", "kl_div",
         "binary_cross_entropy_with_logits"}  # fmt: skip
CARRYING = ADDING - {"stack", "cat", "concat", "hstack"} | {"neg", "__neg__", "mul", "__mul__", "__rmul__", "div", "__truediv__", "true_divide"}
_LAYERS = {"linear", "conv1d", "conv2d", "conv3d", "flatten", "matmul", "__matmul__", "addmm", "mm"}
_USES = 60
_IDS = 100_000
_FLOATS = 32


class Lineage:
    """The marks of tensors and arrays."""

    def __init__(self) -> None:
        self._marks: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._ids: set[int] = set()
        """Of all that was ever marked: what is not among them has no mark, which is quick to see."""
        self._variables: dict[int, weakref.ref[Tensor]] = {}
        """What each source is the gradient by."""
        self._floats: deque[tuple[float, Mark]] = deque(maxlen=_FLOATS)
        """Plain floats that were taken out of tensors that come from a source."""
        self._arrays: dict[int, weakref.ref[Any]] = {}
        """Arrays that come from a source, by their address."""

    def of(self, value: Any) -> Mark:
        if isinstance(value, Number):
            return value.mark
        found = EMPTY
        if id(value) in self._ids:
            with contextlib.suppress(TypeError):  # cannot be referred to weakly
                found = self._marks.get(value, EMPTY)
        return self._shared(value) if found is EMPTY and self._arrays and isinstance(value, Tensor) and not value.requires_grad else found

    def _shared(self, value: Tensor) -> Mark:
        """The mark of the array whose memory the tensor uses: `torch.from_numpy` cannot be watched."""
        try:
            array = self._arrays.get(value.data_ptr(), lambda: None)()
        except RuntimeError:  # a tensor without memory of its own
            return EMPTY
        return EMPTY if array is None else self._marks.get(array, EMPTY)

    def put(self, value: Any, mark: Mark) -> None:
        if mark is EMPTY or mark == EMPTY:
            self._marks.pop(value, None)
        else:
            self._marks[value] = mark
            if len(self._ids) > _IDS:
                self._ids = {id(known) for known in self._marks}
            self._ids.add(id(value))

    def begin(self, tensor: Tensor, source: Source, variable: Tensor | None = None) -> None:
        """The tensor IS the input gradient, by this variable."""
        if variable is not None:
            self._variables[id(source)] = weakref.ref(variable)
        cut = None if tensor.requires_grad else Cut(source.call.site, "no graph")
        self.put(tensor, replace(self.of(tensor), trails={**self.of(tensor).trails, id(source): Trail(source, cut)}))

    def follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """The result of a function of the user's, with its mark; a plain number comes back marked."""
        given = given_values(args, kwargs)
        marks = [(value, mark) for value in given if (mark := self.of(value)) is not EMPTY]
        if self._floats and name in ADDING:
            marks += [(value, mark) for value in given if type(value) is float and (mark := self._remembered(value)) is not EMPTY]
        off = _off(given, marks)
        averaged = self._mean(name, given, kwargs, result)
        summed = self._sum(name, given, args, kwargs, result)
        if marks and averaged is None and summed is None:
            averaged, summed = _carried(name, given, marks)
        if not marks and averaged is None and summed is None and not off:
            return result
        site = here() if any(mark.trails for _, mark in marks) else None
        if site is not None:
            self._used(name, marks, args, kwargs, result, site)
        for tensor in results(result):
            if not isinstance(tensor, Tensor):
                self._arrays = {key: item for key, item in self._arrays.items() if item() is not None}
                self._arrays[tensor.__array_interface__["data"][0]] = weakref.ref(tensor)
            self.put(tensor, self._mark(name, given, marks, tensor, site, averaged, summed, off))
        if isinstance(result, float) and not isinstance(result, bool) and site is not None:
            cut = {key: Trail(t.source, t.cut or Cut(site, name)) for _, mark in marks for key, t in mark.trails.items()}
            self._floats.append((result, Mark(trails=cut)))
            return result if name == "__float__" else Number.of(result, Mark(trails=cut))  # float() takes nothing but a float itself
        return result

    def made_a_leaf(self, value: Tensor) -> bool:
        """Whether the graph behind it begins at nothing but tensors that come from a source and were made leaves afterwards."""
        ends = graph.leaves(value.grad_fn) if value.grad_fn is not None else [value]
        return value.requires_grad and bool(ends) and all(self.of(leaf).trails for leaf in ends)

    def _remembered(self, value: float) -> Mark:
        """The mark of a plain float that is one of those taken out of a tensor, or such a one times a short number (its weight)."""
        for known, mark in self._floats:
            if known and float(f"{known:.6g}") != known and float(f"{value / known:.3g}") * known == value != 0:
                return mark
        return EMPTY

    def _mark(
        self, name: str, given: list[Any], marks: list[tuple[Any, Mark]], result: Any, site: Site | None, averaged: int | None, summed: int | None, off: bool
    ) -> Mark:
        if isinstance(result, Tensor) and not (result.is_floating_point() or result.is_complex()):
            return EMPTY
        live = isinstance(result, Tensor) and result.requires_grad
        trails: dict[int, Trail] = {}
        for _, mark in marks:
            for key, trail in mark.trails.items():
                cut = trail.cut or (None if live else Cut(site or here(), name if name in CUTTING else "data" if name == "data" else "no_grad"))
                if key not in trails or cut is None:
                    trails[key] = Trail(trail.source, cut)
        dead = [item for _, mark in marks for item in mark.dead] if name in LINEAR and _linear(given, marks) else []
        if name in ADDING and live and site is not None:
            dead += self._summands(marks, site)
        scaled = any(mark.scaled for _, mark in marks) and name in LINEAR
        return Mark(trails, tuple(dead), averaged, summed, scaled, off and not live)

    def _summands(self, marks: list[tuple[Any, Mark]], site: Site) -> Iterator[Dead]:
        for value, mark in marks:
            if isinstance(value, Tensor) and (not like_a_loss(value) or (value.requires_grad and not self.made_a_leaf(value))):
                continue
            for trail in mark.trails.values():
                if not trail.alive and not _used_alive(marks, trail.source):
                    size = tuple(value.shape) if isinstance(value, Tensor) else ()
                    yield Dead(trail, site, float(value.detach().double().mean()) if isinstance(value, Tensor) else float(value), size)

    def _used(self, name: str, marks: list[tuple[Any, Mark]], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, site: Site) -> None:
        first = next((tuple(value.shape) for value, mark in marks if mark.trails and hasattr(value, "shape")), ())
        out = tuple(result.shape) if isinstance(result, Tensor) else ()
        use = Use(name, site, first, out, dims(args, kwargs), tuple(float(v) for v in flat((args, kwargs)) if isinstance(v, (int, float))))
        for _, mark in marks:
            for trail in mark.trails.values():
                trail.source.used = True
                if len(trail.source.uses) < _USES:
                    trail.source.uses.append(self._on_the_input(use, trail, args, result))

    def _on_the_input(self, use: Use, trail: Trail, args: tuple[Any, ...], result: Any) -> Use:
        """The use, with what it is to the input itself: whether it moves it, or is a layer that takes the moved one."""
        if use.name in _LAYERS and args and isinstance(args[0], Tensor) and args[0].shape == trail.source.shape and self._from(args[0], trail):
            return replace(use, span=graph.span(args[0]))
        variable = self._variables.get(id(trail.source), lambda: None)()
        if variable is None or use.name not in ADDING or use.result != trail.source.shape:
            return use
        same = any(isinstance(value, Tensor) and not self._from(value, trail) and same_values(value, variable) for value in args)
        return replace(use, moves="alive" if trail.alive and result.requires_grad else "cut") if same else use

    def _from(self, value: Tensor, trail: Trail) -> bool:
        return id(trail.source) in self.of(value).trails

    @staticmethod
    def _mean(name: str, given: list[Any], kwargs: dict[str, Any], result: Any) -> int | None:
        if name not in MEANS or not isinstance(result, Tensor) or result.dim() != 0 or kwargs.get("reduction", "mean") != "mean":
            return None
        first = next((value for value in given if isinstance(value, Tensor)), None)
        if "sum" in given or "none" in given or first is None or first.dim() == 0 or first.shape[0] < 2:
            return None
        return first.shape[0]

    @staticmethod
    def _sum(name: str, given: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int | None:
        if name != "sum" or not isinstance(result, Tensor) or result.dim() != 0 or not isinstance(args[0] if args else None, Tensor):
            return None
        return args[0].shape[1] if args[0].dim() == 2 and args[0].shape[1] > 1 else None


def _off(given: list[Any], marks: list[tuple[Any, Mark]]) -> bool:
    if marks and any(mark.unrecorded for _, mark in marks):
        return True
    return not torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in given)


def _linear(given: list[Any], marks: list[tuple[Any, Mark]]) -> bool:
    """Whether nothing but what carries the dead terms, and constants, comes in with a graph."""
    carrying = {id(value) for value, mark in marks if mark.dead}
    return bool(carrying)


def _carried(name: str, given: list[Any], marks: list[tuple[Any, Mark]]) -> tuple[int | None, int | None]:
    """A mean stays one under a sign, a factor that does not undo it, and beside means over as many; a sum of outputs likewise."""
    tensors = [value for value in given if isinstance(value, Tensor)]
    if name not in CARRYING or any(value.dim() for value in tensors) or len(tensors) != len(marks) or (len(marks) > 1 and name not in ADDING):
        return None, None
    means, sums = {mark.mean_over for _, mark in marks}, {mark.summed_outputs for _, mark in marks}
    averaged, summed = (items.pop() if len(items) == 1 else None for items in (means, sums))
    factors = [float(value) for value in given if isinstance(value, (int, float)) and value]
    undone = averaged is not None and any(abs(abs(factor * other) - 1) < 1e-6 for factor in factors for other in (averaged, 1 / averaged))
    return None if undone else averaged, summed


def _used_alive(marks: list[tuple[Any, Mark]], source: Source) -> bool:
    return any(id(source) in mark.trails and mark.trails[id(source)].alive for _, mark in marks)
