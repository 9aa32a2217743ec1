"""An ordinary step as one would write it by hand: its passes, their input gradients with their graph, the terms' formulas, a sum.

What else the library does for a step (checks, the state that further passes start from, cotangents of their own) is there for models, terms and engines
that need it. The first step of a form is made in full and tells whether it did; then each later one is made here, while nothing that decides has changed.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses
from inputgrad.batch import AddedUp
from inputgrad.devices import may_be_looked_at
from inputgrad.passes.kept import KeptNow, UnforeseenError
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.traces import Generators
from inputgrad.step.active_terms import ActiveTerm, value_by_its_sum
from inputgrad.step.checks import check_finite
from inputgrad.step.objective import as_number, weighted_sum
from inputgrad.step.plain_form import PlainForm
from inputgrad.step.plain_source import PlainSource
from inputgrad.step.surrogate_gradient import once_differentiable_loss
from inputgrad.torch_internals.autograd import backward_from
from inputgrad.torch_internals.autograd_graph import leaves_of, numbers_for_alone
from inputgrad.variables import ModelInputs

SMALL_INPUT = 1 << 16
"""Numbers of an input, and of what is computed for it alone, up to which its gradient, which nobody asked for, is cheaper than to look for the leaves."""

Scale = Callable[[Tensor], Tensor]
"""What a gradient scaler does to a loss."""


class PlainStep:
    """One step: its values, its total, and what comes of it."""

    def __init__(self, form: PlainForm, model: nn.Module, inputs: ModelInputs, target: Any) -> None:
        self.form, self.model, self.inputs, self.target = form, model, inputs, target
        self.values: dict[str, Tensor | AddedUp] = {}
        self.total: Tensor | None = None
        self.source: PlainSource
        self._own: list[Tensor] = []

    def run(self, active: list[ActiveTerm], *, is_training_step: bool) -> None:
        """Make the step: its total, 0-d, with its graph. Raises `UnforeseenError`, with the state as before, where a term asks for more than it did."""
        state, carried = self._state_before(), [(term, {name: value.clone() for name, value in term.state().items()}) for term in self.form.stateful]
        self.source = source = PlainSource(self.form, self.model, self.inputs, self.target, is_training_step=is_training_step)
        objective, values, is_made = self.form.objective, self.values, False
        try:
            if objective.base is not None:
                values["base"] = base_losses.value(objective.base, source.for_base(None), self.target)
            for item in active:
                values[item.name] = value_by_its_sum(item, source.batch, source.sizes)
            source.passes.look_at_shared()
            self.total = weighted_sum(values, active, objective.base_weight)
            if not self.total.requires_grad:
                raise UnforeseenError  # the way in full gives it a graph
            is_made = True
        finally:
            if not is_made:  # the step is made in full, or not at all
                for before in (source.passes.start, state):
                    if before is not None:
                        before.rewind()
                for term, kept in carried:
                    term.load_state(kept)
            self._own = [*source.variables.values(), *source.close()]
        if may_be_looked_at(self.total) and not math.isfinite(self.total.item()):
            check_finite({name: as_number(value) for name, value in values.items()}, self.inputs, self.target)

    def _state_before(self) -> KeptNow | Generators | RandomAndBufferState | None:
        """The state before the step, as much of it as may have to be put back beside what there is before the first of several passes; None for nothing."""
        form = self.form
        if form.rewindable:
            state = RandomAndBufferState(self.model, self.inputs)
            state.remember()
            return state
        if not form.may_draw or (form.objective.base is not None and form.are_several):  # the latter begins with a pass
            return None
        return Generators(self.inputs) if form.are_several else form.kept.now(self.inputs)

    # what comes of it

    def loss(self) -> Tensor:
        """The total. Its graph is complete and may be differentiated again; not where a derivative of our own stands for torch's, which has one and no more, or
        where torch's own would be wrong without a word, as those of normalisations are.
        """
        assert self.total is not None
        is_once_only = (self.form.exchanged and self.source.phase.has_exchanged) or self.form.saves_statistics(self.total)
        return once_differentiable_loss(self.total) if is_once_only else self.total

    def backward(self, scaled: Scale | None) -> Tensor:
        """The backward pass to every leaf; not to the inputs, where that would cost something. Gives the total, detached."""
        assert self.total is not None
        total = scaled(self.total) if scaled else self.total
        own = [z for z in self._own if z.is_leaf]
        self.form.has_failed = True
        if sum(z.numel() for z in own) <= SMALL_INPUT and self._cost(total, own) <= SMALL_INPUT:
            backward_from(total, self.form.ones(total))
        elif leaves := [leaf for leaf in leaves_of([total]) if not any(leaf is z for z in own)]:
            torch.autograd.backward(total, inputs=leaves)
        self.form.has_failed = False
        return self.total.detach()

    def _cost(self, total: Tensor, own: list[Tensor]) -> int:
        """How much is computed for the inputs alone, such as through distances and their functions before the first weight; looked at once a form."""
        self.form.costs.extend(() if self.form.costs else [numbers_for_alone([total], own)])
        return self.form.costs[0]

    @property
    def parts(self) -> dict[str, Tensor]:
        return {name: value.detach() if isinstance(value, Tensor) else value.total.detach() / value.numbers for name, value in self.values.items()}

    @property
    def detached_output(self) -> Any:
        if (made := self.source.returned) is None:
            return None
        if self.source.is_output_asked:
            return made.output.detach()
        return made.detached() if made.is_seen_whole_by(self.form.objective.base) else None
