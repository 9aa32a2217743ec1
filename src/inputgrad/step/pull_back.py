"""The way back: from a value of the terms to the parameters, through the output and every input gradient that it depends on.

The value's cotangents are read at the detached output and gradients; the passes of the model carry them on. Must not know terms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from inputgrad.devices import Reading, read_together
from inputgrad.engines.base import Cotangents, KnownGradients, Linearization
from inputgrad.step.evaluation import Evaluation
from inputgrad.step.parameter_gradients import parameter_gradients
from inputgrad.step.shared_base_loss import Split
from inputgrad.step.surrogate_gradient import SurrogateGradient
from inputgrad.torch_internals.autograd_graph import is_reentrant, leaves_of
from inputgrad.torch_internals.gradient_hooks import handed_over, has_accumulation_hooks, has_gradient_hooks

Roots = list[tuple[Tensor, Tensor | None]]
"""Where a backward pass starts, each with its cotangent; None for the 0-d ones, which start from 1."""


@dataclass(frozen=True)
class PendingCotangents:
    """What has to go on to the parameters besides a value's own graph: a cotangent at the output, and (g, v, c) for each input gradient.

    c: the multiple of Σ_n s_n that the engine takes along with ⟨v, g⟩; 0 where it takes none.
    """

    outputs: list[tuple[Tensor, Tensor]]
    gradients: list[tuple[Linearization, Cotangents, float]]

    def same_pass(self) -> Roots:
        """What the passes at the places themselves carry."""
        shares = [(gradient.same_pass(v), None) for gradient, v, _ in self.gradients if gradient.same_pass]
        return [*self.outputs, *shares]

    def extra_passes(self) -> Iterator[Roots]:
        """The rest, one pass of the model at a time, and gradients that are known already."""
        for gradient, v, c in self.gradients:
            for share in gradient.extra_passes(v, c) if gradient.extra_passes else ():
                yield list(share.leaves) if isinstance(share, KnownGradients) else [(share, None)]


@dataclass(frozen=True)
class AskedCotangents:
    """The cotangents of one evaluation before their numbers are read: at its outputs in their graph (None for none), and at its input gradients.

    split: that at the first output in two parts, of which the last engine to share a pass with the base loss takes one along.
    """

    outputs: Callable[[], Sequence[Tensor]]
    at_outputs: list[Tensor | None]
    gradients: list[tuple[Linearization, Cotangents]]
    split: tuple[Linearization, Split] | None = None

    def readings(self) -> list[Reading]:
        """What is to be known as numbers."""
        asked = [linearization.asks(v) for linearization, v in self.gradients if linearization.asks]
        return [*asked, *([self.split[1].reading] if self.split else [])]

    def answered(self) -> PendingCotangents:
        """What has to go on."""
        times, at_outputs = 0.0, self.at_outputs
        if self.split is not None:
            times, left = self.split[1].parts()
            at_outputs = [left, *at_outputs[1:]]
        shared = self.split[0] if self.split else None
        gradients = [(linearization, v, times if linearization is shared else 0.0) for linearization, v in self.gradients]
        if all(cotangent is None for cotangent in at_outputs):
            return PendingCotangents([], gradients)
        roots = zip(self.outputs(), at_outputs, strict=True)
        return PendingCotangents([(output, cotangent) for output, cotangent in roots if cotangent is not None and output.requires_grad], gradients)


class PullBack:
    """From values of one evaluation, and of the shares of its batch, to the leaves."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._model, self._state, self._inputs = evaluation.model, evaluation.state, evaluation.inputs
        self._placement = evaluation.state.placement
        self._evaluations = evaluation.with_subsets()

    def attach(self, value: Tensor) -> Tensor:
        """``value``, whose backward pass goes on to the parameters."""
        one = torch.ones((), dtype=value.dtype, device=value.device)
        pending = self._pending(value)
        roots = chain.from_iterable(chain(cotangents.same_pass(), *cotangents.extra_passes()) for cotangents in pending)
        pairs = [(tensor, one if cotangent is None else cotangent) for tensor, cotangent in roots if tensor.requires_grad]
        if not pairs and not value.requires_grad:  # constant by itself: its backward pass has nothing to do, and may be called all the same
            pairs += [(p, torch.zeros_like(p)) for p in self._model.parameters() if p.requires_grad][:1]
        loss = SurrogateGradient.apply(value, [cotangent for _, cotangent in pairs], *[tensor for tensor, _ in pairs])
        return self._placement.finish(loss, self._state.output)

    def run(self, value: Tensor) -> None:
        """The backward pass of ``value`` to every leaf but those that the library made itself, one pass of the model at a time."""
        passes = self._passes(value)
        own = set[int]().union(*(evaluation.own_leaves() for evaluation in self._evaluations))
        if self._inputs.has_graph or self._gradient_is_listened_to():  # the graph of the inputs, or a hook, wants the whole gradient at once
            self._to_leaves([*chain(*passes)], own)
            return
        for roots in passes:
            self._to_leaves(_handed_over(roots, own), own)

    def gradients(self, value: Tensor, sources: Sequence[Tensor]) -> list[Tensor | None]:
        """∂value/∂source of each source, None where it has none, one pass of the model at a time; a model of one process hears nothing of it."""
        if not self._placement.local:
            return parameter_gradients(self.attach(value), self._model, sources)
        totals: list[Tensor | None] = [None for _ in sources]

        def add(number: int, gradient: Tensor) -> None:
            total = totals[number]
            totals[number] = gradient.clone() if total is None else total.add_(gradient)  # what autograd hands out may be used elsewhere too

        for roots in self._passes(value):
            tensors, cotangents = _that_require_grad(roots)
            if is_reentrant(tensors):  # hides its leaves from autograd.grad
                ones = [torch.ones_like(tensor) if cotangent is None else cotangent for tensor, cotangent in zip(tensors, cotangents, strict=True)]
                loss = SurrogateGradient.apply(value.detach(), ones, *tensors)
                for number, part in enumerate(parameter_gradients(loss, self._model, sources)):
                    if part is not None:
                        add(number, part)
            elif tensors and sources:
                with handed_over(sources, add, tensors):
                    torch.autograd.grad(tensors, list(sources), cotangents, allow_unused=True)
        return totals

    def _pending(self, value: Tensor) -> list["PendingCotangents"]:
        """The cotangents of each evaluation; what is to be known of them is read in one transfer."""
        asked = [_asked(evaluation, value) for evaluation in self._evaluations]
        read_together([reading for cotangents in asked for reading in cotangents.readings()])
        return [cotangents.answered() for cotangents in asked]

    def _passes(self, value: Tensor) -> Iterator[Roots]:
        """Where the backward passes of a value start, those of the places themselves first."""
        pending = self._pending(value)
        first: Roots = [(self._placement.finish(value, self._state.output), None)]
        first += chain.from_iterable(cotangents.same_pass() for cotangents in pending)
        return chain([first], *(cotangents.extra_passes() for cotangents in pending))

    def _gradient_is_listened_to(self) -> bool:
        """Whether something acts on a parameter as soon as its gradient is there, an optimiser or a reducer: then it must be whole."""
        return bool(self._placement.replicas) or self._placement.is_sharded or any(has_accumulation_hooks(p) for p in self._model.parameters())

    def _to_leaves(self, roots: Roots, own: set[int]) -> None:
        tensors, cotangents = _that_require_grad(roots)
        if self._state.reentrant:  # re-entrant checkpointing hides its leaves and refuses to be told where to stop
            torch.autograd.backward(tensors, cotangents)
        elif leaves := [leaf for leaf in leaves_of(tensors) if id(leaf) not in own]:
            torch.autograd.backward(tensors, cotangents, inputs=leaves)


def _handed_over(roots: Roots, own: set[int]) -> Roots:
    """What is left after gradients that are known already were added to their leaves; autograd would copy each."""
    left: Roots = []
    with torch.no_grad():
        for leaf, known in roots:
            if known is None or id(leaf) in own or not _takes_as_it_is(leaf, known):
                left.append((leaf, known))
            elif leaf.grad is None:
                leaf.grad = known
            else:
                leaf.grad += known
    return left


def _takes_as_it_is(leaf: Tensor, known: Tensor) -> bool:
    """Whether the ``.grad`` of a leaf may be this tensor itself, and nobody listens."""
    alike = (known.layout, known.dtype, known.layout == torch.strided and known.stride()) == (leaf.layout, leaf.dtype, leaf.stride())
    return leaf.is_leaf and leaf.requires_grad and alike and not has_gradient_hooks(leaf)


def _that_require_grad(roots: Roots) -> tuple[list[Tensor], list[Tensor | None]]:
    kept = [(tensor, cotangent) for tensor, cotangent in roots if tensor.requires_grad]
    return [tensor for tensor, _ in kept], [None if cotangent is None else cotangent.to(tensor.dtype) for tensor, cotangent in kept]


def _asked(evaluation: Evaluation, value: Tensor) -> AskedCotangents:
    """The cotangents of ``value`` at the output and at each input gradient of one evaluation."""
    outputs, groups = evaluation.outputs.leaves(), evaluation.trained_gradients()
    leaves = [*outputs, *(leaf for group in groups for leaf in group.leaves)]
    if not value.requires_grad or not leaves:
        return AskedCotangents(evaluation.outputs.in_graph, [], [])
    cotangents = iter(torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True))
    at_outputs: list[Tensor | None] = [next(cotangents) for _ in outputs]
    gradients: list[tuple[Linearization, Cotangents]] = []
    split: tuple[Linearization, Split] | None = None
    for group in groups:
        parts = [next(cotangents) for _ in group.leaves]
        if any(part is not None for part in parts):
            gradients.append(
                (group.linearization, tuple(torch.zeros_like(leaf) if part is None else part for leaf, part in zip(group.leaves, parts, strict=True)))
            )
            if evaluation.shared_base is not None and evaluation.shared_base.linearization is group.linearization:
                split = group.linearization, evaluation.shared_base.split(value, at_outputs[0])
    return AskedCotangents(evaluation.outputs.in_graph, at_outputs, gradients, split)
