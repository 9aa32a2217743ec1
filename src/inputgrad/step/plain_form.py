"""How the steps of one form are made plainly, and what is the same in each of them."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inputgrad import heads
from inputgrad.heads import Head, Of
from inputgrad.passes.kept import Kept, UnforeseenError
from inputgrad.step.bound_head import bound_head
from inputgrad.step.objective import Objective
from inputgrad.torch_internals.autograd_graph import nodes_of_statistics
from inputgrad.torch_internals.tensors import times_written
from inputgrad.torch_internals.tracing import is_watched
from inputgrad.variables import Key


@dataclass
class PlainForm:
    """How the steps of one form are made.

    wrt: the inputs that are differentiated in the pass at the batch's own inputs, in the form that passes use. keys: what terms call them -> that form.
    exchanged: whether our own second derivatives may be needed in place of torch's. exchanged_at_inputs: likewise in the pass at the batch's own inputs;
    exchanged_at_any_order: in passes that terms differentiate themselves.
    is_torchs_own: whether the model is made of ``torch.nn`` alone, so that no part of it can be compiled code.
    kept: what the model keeps from pass to pass. are_several: whether a step makes several, and each later one starts from what the first one started from.
    stateful: terms that carry something from step to step.
    rewindable: whether the state before the passes is kept, for terms that may ask for another one.
    may_share: whether terms may share a pass that one of them differentiates itself, and its first derivatives: torch's derivatives are those by ours, and
    nobody writes on what a pass gives.
    shared: the variables of such a pass, where output and input gradients are taken of it.
    may_draw: whether places or terms may draw random numbers, which the full way is to draw again.
    most: up to how many numbers of the inputs nothing is exchanged, where that was for the size alone.
    known: what terms have found of the form, by their keys.
    has_failed: whether a backward pass was begun and has not come to its end.
    costs: how many numbers the backward pass of the first such step would have computed for the inputs alone.
    """

    objective: Objective
    wrt: tuple[Key, ...]
    exchanged: bool
    exchanged_at_inputs: bool
    exchanged_at_any_order: bool
    is_torchs_own: bool
    kept: Kept
    are_several: bool
    stateful: list[Any]
    rewindable: bool
    may_draw: bool
    most: int | None
    may_share: bool
    keys: dict[Hashable, tuple[Key, ...]] = field(default_factory=dict)
    known: dict[Hashable, Any] = field(default_factory=dict)
    costs: list[int] = field(default_factory=list)
    shared: tuple[Key, ...] | None = None
    has_failed: bool = False
    proven: set[Any] = field(default_factory=set)
    _has_statistics: bool | None = None
    _heads: dict[str, Head] = field(default_factory=dict)
    _ones: dict[torch.Size, Tensor] = field(default_factory=dict)

    def head(self, of: Of) -> Head:
        """The head that ``of`` names. Raises `UnforeseenError` for one of an inner module, which has a pass of its own."""
        if isinstance(of, str):
            if of not in self._heads:
                self._heads[of] = bound_head(of, self.objective.base)
            return self._heads[of]
        if isinstance(of, heads.Inner):
            raise UnforeseenError
        return bound_head(of, self.objective.base)

    def saves_statistics(self, total: Tensor) -> bool:
        """Whether there is a normalisation in the graph, looked at once a form."""
        if self._has_statistics is None:
            self._has_statistics = bool(nodes_of_statistics([total]))
        return self._has_statistics

    def ones(self, output: Tensor) -> Tensor:
        """Where a backward pass starts from: ones like the output, the same ones at each step while nobody has written on them."""
        ones = self._ones.get(output.shape)
        if ones is None or ones.dtype != output.dtype or ones.device != output.device or times_written(ones):
            ones = torch.ones_like(output, memory_format=torch.contiguous_format)
            if type(output) is Tensor and not is_watched():
                self._ones = {shape: kept for shape, kept in self._ones.items() if not shape or not output.dim()} | {output.shape: ones}
        return ones
