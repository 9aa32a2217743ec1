"""Follows values from input gradients through torch's functions: what is known of each tensor, kept beside it without keeping it alive. Knows no probe.

The rules of following: a result comes from what its arguments come from. It is alive where autograd goes on; it is cut where an operation ends the graph. A
summand without a graph that comes from an input gradient, added to one that has a graph, is a dead term (`dead_terms`).
"""

import contextlib
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.call_sites import Site, here
from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient
from inputgrad.audit.observations.tensor_origins import GraphCut, Operation, Origin, Values
from inputgrad.audit.probes import autograd_graph, dead_terms
from inputgrad.audit.probes.call_arguments import dims, flat, given_values, results, same_values, written_besides
from inputgrad.audit.probes.operation_names import ADDING, BOUNDING, COMPARING, CUTTING, LAYERS, LINEAR
from inputgrad.audit.probes.scalar_reductions import Reduction, reduction
from inputgrad.audit.probes.tensor_measures import value_range
from inputgrad.audit.probes.tensor_notes import EMPTY, TensorNote, TrackedFloat

_OPERATIONS = 60
"""How many operations on one input gradient are kept."""
_IDS = 100_000
_FLOATS = 32


class _Call(NamedTuple):
    """One call of a function of torch. noted: the arguments that something is known of; site: where one comes from an input gradient."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    noted: list[tuple[Any, TensorNote]]
    site: Site | None

    def origins(self) -> Iterator[tuple[int, Origin]]:
        return (item for _, note in self.noted for item in note.origins.items())


class ProvenanceTracker:
    """The notes of tensors, arrays and numbers."""

    def __init__(self) -> None:
        self._notes: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._ids: set[int] = set()
        """Of all that ever had a note: what is not among them has none, which is quick to see."""
        self._variables: dict[int, weakref.ref[Tensor]] = {}
        """What each input gradient is the gradient by."""
        self._floats: deque[tuple[float, TensorNote]] = deque(maxlen=_FLOATS)
        """Plain floats that were taken out of tensors that come from an input gradient."""
        self._arrays: dict[int, weakref.ref[Any]] = {}
        """Arrays that come from an input gradient, by their address."""

    def of(self, value: Any) -> TensorNote:
        if isinstance(value, TrackedFloat):
            return value.note
        note = EMPTY
        if id(value) in self._ids:
            with contextlib.suppress(TypeError):  # cannot be referred to weakly
                note = self._notes.get(value, EMPTY)
        return self._shared(value) if note is EMPTY and self._arrays and isinstance(value, Tensor) and not value.requires_grad else note

    def _shared(self, value: Tensor) -> TensorNote:
        """The note of the array whose memory the tensor uses: `torch.from_numpy` cannot be watched."""
        try:
            array = self._arrays.get(value.data_ptr(), lambda: None)()
        except RuntimeError:  # a tensor without memory of its own
            return EMPTY
        return EMPTY if array is None else self._notes.get(array, EMPTY)

    def put(self, value: Any, note: TensorNote) -> None:
        if note is EMPTY or note == EMPTY:
            if id(value) in self._ids:
                self._notes.pop(value, None)
        else:
            self._notes[value] = note
            if len(self._ids) > _IDS:
                self._ids = {id(known) for known in self._notes}
            self._ids.add(id(value))

    def begin(self, tensor: Tensor, gradient: InputGradient, variable: Tensor | None = None) -> None:
        """The tensor IS the input gradient, by this variable."""
        if variable is not None:
            self._variables[id(gradient)] = weakref.ref(variable)
        cut = None if tensor.requires_grad else GraphCut(gradient.call.site, "no graph")
        values = frozenset() if cut is None else frozenset({Values()})
        origin = Origin(gradient, cut, values=values, made_of=values)
        self.put(tensor, replace(self.of(tensor), origins={**self.of(tensor).origins, id(gradient): origin}))

    def follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """The result of a function of the user's, with its note; a plain number comes back as one that carries its note."""
        given = given_values(args, kwargs)
        noted = [(value, note) for value in given if (note := self.of(value)) is not EMPTY]
        if self._floats and name in ADDING:
            noted += [(value, note) for value in given if type(value) is float and (note := self._remembered(value)) is not EMPTY]
        unrecorded, reduced = _unrecorded(given, noted), reduction(name, args, kwargs, given, noted, result)
        if not noted and reduced == Reduction() and not unrecorded:
            return result
        call = _Call(name, args, kwargs, noted, here() if any(note.origins for _, note in noted) else None)
        operations = {} if call.site is None else self._used(call, call.site, result)
        dead_terms.feed(name, args, noted)
        for value in (*results(result), *written_besides(name, args)):
            if not isinstance(value, Tensor):
                self._arrays = {key: item for key, item in self._arrays.items() if item() is not None}
                self._arrays[value.__array_interface__["data"][0]] = weakref.ref(value)
            self.put(value, self._note(call, value, reduced, unrecorded, operations))
        if isinstance(result, float) and call.site is not None:
            return self._number(call, call.site, result)
        return result

    def made_a_leaf(self, value: Tensor) -> bool:
        """Whether the graph behind it begins at nothing but tensors that come from an input gradient and were made leaves afterwards."""
        ends = autograd_graph.leaves(value.grad_fn) if value.grad_fn is not None else [value]
        return value.requires_grad and bool(ends) and all(self.of(leaf).origins for leaf in ends)

    def comes_from(self, value: Any, call: GradientCall) -> bool:
        """Whether it comes, with its graph, from an input gradient of this call."""
        return any(origin.alive and origin.gradient.call is call for origin in self.of(value).origins.values())

    def _remembered(self, value: float) -> TensorNote:
        """The note of a plain float that is one of those taken out of a tensor, or such a one times a short number (its weight)."""
        for known, note in self._floats:
            if known and float(f"{known:.6g}") != known and float(f"{value / known:.3g}") * known == value != 0:
                return note
        return EMPTY

    def _number(self, call: _Call, site: Site, result: float) -> float:
        cut = {key: Origin(origin.gradient, origin.cut or GraphCut(site, call.name)) for key, origin in call.origins()}
        self._floats.append((result, TensorNote(origins=cut)))
        return result if call.name == "__float__" else TrackedFloat.of(result, TensorNote(origins=cut))  # float() takes nothing but a float itself

    def _note(self, call: _Call, result: Any, reduced: Reduction, unrecorded: bool, operations: dict[int, Operation]) -> TensorNote:
        if isinstance(result, Tensor) and not (result.is_floating_point() or result.is_complex()):
            return EMPTY
        live = isinstance(result, Tensor) and result.requires_grad
        by = call.name if call.name in CUTTING or call.name == "data" else "no_grad" if not torch.is_grad_enabled() else call.name
        cut = None if live or call.site is None else GraphCut(call.site, by)
        origins = dead_terms.joined(call.name, call.noted, result, cut, operations)
        dead = dead_terms.carried(call.name, call.noted, live)
        if call.name in ADDING | COMPARING and live and call.site is not None:
            dead += dead_terms.summands(call.name, call.args, call.noted, call.site, self.made_a_leaf)
        scaled = call.name in LINEAR and any(note.scaled for _, note in call.noted)
        return TensorNote(origins, tuple(dead), *reduced, scaled, unrecorded and not live)

    def _used(self, call: _Call, site: Site, result: Any) -> dict[int, Operation]:
        """Enter the operation with each input gradient that its arguments come from; it, by the gradient's identity."""
        first = next((tuple(value.shape) for value, note in call.noted if note.origins and hasattr(value, "shape")), ())
        shape = tuple(result.shape) if isinstance(result, Tensor) else ()
        numbers = tuple(float(value) for value in flat((call.args, call.kwargs)) if isinstance(value, (int, float)))
        operation = Operation(call.name, site, first, shape, dims(call.args, call.kwargs), numbers)
        entered: dict[int, Operation] = {}
        for key, origin in call.origins():
            origin.gradient.used = True
            if key not in entered:
                entered[key] = self._on_the_input(operation, origin, call.args, result)
                if len(origin.gradient.operations) < _OPERATIONS:
                    origin.gradient.operations.append(entered[key])
        return entered

    def _on_the_input(self, operation: Operation, origin: Origin, args: tuple[Any, ...], result: Any) -> Operation:
        """The operation, with what it is to the input itself: whether it moves it, or is a layer that takes the moved one."""
        shape = origin.gradient.shape
        if operation.name in LAYERS and args and isinstance(args[0], Tensor) and args[0].shape == shape and self._from(args[0], origin):
            return replace(operation, span=value_range(args[0]))
        if operation.name in BOUNDING and operation.result == shape:
            return replace(operation, bounded=value_range(result))
        variable = self._variables.get(id(origin.gradient), lambda: None)()
        if variable is None or operation.name not in ADDING or operation.result != shape:
            return operation
        same = any(isinstance(value, Tensor) and not self._from(value, origin) and same_values(value, variable) for value in args)
        return replace(operation, moves="alive" if origin.alive and result.requires_grad else "cut") if same else operation

    def _from(self, value: Tensor, origin: Origin) -> bool:
        return id(origin.gradient) in self.of(value).origins


def _unrecorded(given: list[Any], noted: list[tuple[Any, TensorNote]]) -> bool:
    """Whether the result is computed while gradients are off, from what requires one."""
    if any(note.unrecorded for _, note in noted):
        return True
    return not torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in given)
