"""Tells which summands of a loss come from an input gradient and change no parameter, and which tensors are samples, not terms. Follows nothing itself."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.audit.call_sites import Site
from inputgrad.audit.observations.tensor_origins import DeadTerm, GraphCut, Operation, Origin, Values
from inputgrad.audit.probes import autograd_graph
from inputgrad.audit.probes.call_arguments import like_a_loss
from inputgrad.audit.probes.operation_names import ADDING, COMPARING, FEEDING, JOINING, KEEPING_VALUES, LINEAR
from inputgrad.audit.probes.tensor_notes import TensorNote
from inputgrad.audit.torch_internals import node_number

_MANY = 16
Noted = list[tuple[Any, TensorNote]]
"""Arguments of a call of torch, with what is known of each."""


def joined(name: str, noted: Noted, result: Any, cut: GraphCut | None, operations: dict[int, Operation]) -> dict[int, Origin]:
    """What the result of an operation comes from. cut: where the operation ends the graph; operations: it, as each input gradient sees it."""
    moved = any(operation.moves for operation in operations.values())
    origins: dict[int, Origin] = {}
    for key, origin in ((key, origin) for _, note in noted for key, origin in note.origins.items()):
        own = _values(name, origin, result) if origin.cut or cut else frozenset[Values]()
        meant = origin.meant or (origin.cut is not None and (name in ("detach", "detach_") or not torch.is_grad_enabled()))
        entered = key in operations and origin.gradient.operations[-1:] == [operations[key]]
        through = origin.through | {operations[key]} if entered else origin.through
        new = Origin(origin.gradient, origin.cut or cut, origin.moved or moved, meant, own, _few(origin.made_of | own), through)
        origins[key] = _both(origins[key], new) if key in origins else new
    return _newest(origins)


def _few(made_of: frozenset[Values]) -> frozenset[Values]:
    """Of many values those that a layer took, which decide: a sampler makes new ones with each of thousands of operations."""
    return made_of if len(made_of) <= _MANY else frozenset([values for values in made_of if values.fed][:1])


def _newest(origins: dict[int, Origin]) -> dict[int, Origin]:
    """All that are alive, and the newest of the rest: a sample that went through a long chain comes from the gradients of all its steps."""
    cut = [key for key, origin in origins.items() if origin.cut is not None]
    if len(cut) <= _MANY:
        return origins
    old = set(sorted(cut, key=lambda key: origins[key].gradient.call.number)[:-_MANY])
    return {key: origin for key, origin in origins.items() if key not in old}


def _both(one: Origin, other: Origin) -> Origin:
    """What comes from one gradient by two ways; alive where one of them is."""
    return replace(
        one,
        cut=None if one.cut is None or other.cut is None else one.cut,
        moved=one.moved or other.moved,
        meant=one.meant and other.meant,
        values=one.values | other.values,
        made_of=one.made_of | other.made_of,
        through=one.through | other.through,
    )


def _values(name: str, origin: Origin, result: Any) -> frozenset[Values]:
    """The values that the result holds: those of its argument, or new ones of the input's size."""
    if name in KEEPING_VALUES and origin.values:
        return origin.values
    size = result.numel() if isinstance(result, Tensor) else 0
    count = 1
    for length in origin.gradient.shape:
        count *= length
    return frozenset({Values()}) if size == count and not origin.moved else frozenset()


def feed(name: str, args: tuple[Any, ...], noted: Noted) -> None:
    """A layer takes a tensor that comes from an input gradient, as it takes a sample."""
    if name not in FEEDING or not args:
        return
    for value, note in noted:
        if value is args[0] and any(isinstance(other, nn.Parameter) or (isinstance(other, Tensor) and other.requires_grad) for other in args[1:]):
            for values in (values for origin in note.origins.values() for values in origin.values):
                values.fed = True


def carried(name: str, noted: Noted, live: bool) -> list[DeadTerm]:
    """The dead terms that are in the result too: through what is linear all of them, a residual's through anything but a layer."""
    terms = dict.fromkeys(term for _, note in noted for term in note.dead)
    return [term for term in terms if name in LINEAR or (live and term.residual and name not in FEEDING)]


def summands(name: str, args: tuple[Any, ...], noted: Noted, site: Site, made_a_leaf: Any) -> Iterator[DeadTerm]:
    """The arguments of an addition, or of a comparison, that have no graph and come from an input gradient, beside one that has."""
    tensors = [value for value in args if isinstance(value, Tensor)]
    for value, note in noted:
        if isinstance(value, Tensor) and value.requires_grad and not made_a_leaf(value):
            yield from _factors(name, value, note, site, tensors, noted)
            continue
        plain = name in ADDING and (not isinstance(value, Tensor) or like_a_loss(value))
        for origin in note.origins.values():
            if origin.alive or any(id(origin.gradient) in other.origins and other.origins[id(origin.gradient)].alive for _, other in noted):
                continue
            residual = isinstance(value, Tensor) and _in_a_residual(name, value, origin, tensors, noted)
            if plain or residual:
                size = tuple(value.shape) if isinstance(value, Tensor) else ()
                yield DeadTerm(origin, site, float(value.detach().double().mean()) if isinstance(value, Tensor) else float(value), size, residual=residual)


def _factors(name: str, value: Tensor, note: TensorNote, site: Site, tensors: list[Tensor], noted: Noted) -> Iterator[DeadTerm]:
    """Gradients without a graph that stand in a product, added to a derivative that has one (u_t + u·u_x): taken as they are, which no sample's weight is."""
    beside = [known for other, known in noted if other is not value and any(origin.alive for origin in known.origins.values())]
    for origin in note.origins.values() if beside else ():
        as_it_is = all(operation.name in LINEAR | KEEPING_VALUES for operation in origin.through)
        if not origin.alive and as_it_is and origin.gradient.by_leaf and _in_a_residual(name, value, origin, tensors, noted):
            yield DeadTerm(origin, site, float(value.detach().double().mean()), tuple(value.shape), residual=True)


def _in_a_residual(name: str, value: Tensor, origin: Origin, tensors: list[Tensor], noted: Noted) -> bool:
    """Whether it is added to what the network that it is a derivative of gives for the same input: its output, or another derivative of it.

    A gradient that is meant to be constant is added to other things: another network's output, the input that it moves, or features that it is a target for.
    """
    operand = name in ADDING - JOINING or (name in COMPARING and tensors[0] is value)
    stopped = origin.cut is None or origin.cut.by != "no graph" or origin.moved or origin.gradient.of_weights
    if not operand or stopped or value.numel() < 2 or (origin.meant and origin.gradient.call.kind == "grad"):
        return False
    return any(_same_network(origin, other, noted) for other in tensors if other is not value and other.requires_grad and other.grad_fn is not None)


def _same_network(origin: Origin, other: Tensor, noted: Noted) -> bool:
    graph, by_leaf = origin.gradient.call.graph, origin.gradient.by_leaf
    nodes = autograd_graph.walked([other.grad_fn])
    reached = {id(leaf) for leaf in autograd_graph.leaves_among(nodes)}
    beside = [item.gradient.call.graph for known, note in noted if known is other for item in note.origins.values() if item.alive]
    entries = {node_number(node) for node in nodes}.union(*(item.entries for item in beside))
    one_pass = bool(graph.entries & entries)
    return bool(graph.reaches) and graph.reaches <= reached.union(*(item.reaches for item in beside)) and (one_pass or (by_leaf and not beside))
