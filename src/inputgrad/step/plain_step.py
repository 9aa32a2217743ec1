"""An ordinary step as one would write it by hand: one pass, its input gradients with their graph, the terms' formulas, a sum.

What else the library does for a step (checks, the state that further passes start from, cotangents of their own) is there for models, terms and engines
that need it. The first step of a form is made in full and tells whether it did; then each later one is made here, while nothing that decides has changed.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from inputgrad import base_losses, heads
from inputgrad.batch import Batch
from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from inputgrad.heads import Of, Score
from inputgrad.passes.batched_rows import batched_rows
from inputgrad.passes.changes import opened, seen
from inputgrad.passes.outputs import check_output, representative
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.returned import Returned
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.places.base import Place
from inputgrad.step.active_terms import ActiveTerm, value_of_term
from inputgrad.step.bound_head import bound_head
from inputgrad.step.checks import check_finite, may_be_looked_at
from inputgrad.step.objective import Objective, weighted_sum
from inputgrad.step.surrogate_gradient import once_differentiable_loss
from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.autograd_graph import leaves_of, numbers_for_alone
from inputgrad.torch_internals.tracing import is_watched
from inputgrad.variables import Key, ModelInputs, Wrt, canonical

SMALL_INPUT = 1 << 16
"""Numbers of an input, and of what is computed for it alone, up to which its gradient, which nobody asked for, is cheaper than to look for the leaves."""

Scale = Callable[[Tensor], Tensor]
"""What a gradient scaler does to a loss."""


class UnforeseenRequestError(Exception):
    """A term asks for what no earlier step of this form needed."""


@dataclass(frozen=True)
class PlainForm:
    """How the steps of one form are made.

    wrt: the inputs that are differentiated, in the form that passes use. keys: what terms call them -> that form.
    exchanged: whether our own second derivatives may be needed in place of torch's.
    is_torchs_own: whether the model is made of ``torch.nn`` alone, so that no part of it can be compiled code.
    rewindable: whether the state before the pass is kept, for terms that may ask for another one.
    costs: how many numbers the backward pass of the first such step would have computed for the inputs alone.
    """

    objective: Objective
    wrt: tuple[Key, ...]
    exchanged: bool
    is_torchs_own: bool
    rewindable: bool
    keys: dict[Hashable, tuple[Key, ...]] = field(default_factory=dict)
    costs: list[int] = field(default_factory=list)


@dataclass
class PlainStep:
    """One step: what a batch is asked, and what came of it."""

    form: PlainForm
    model: nn.Module
    inputs: ModelInputs
    target: Any
    variables: dict[Key, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    total: Tensor | None = None
    _returned: Returned | None = None
    _is_output_asked: bool = False
    _gradients: dict[Any, tuple[Tensor, ...]] = field(default_factory=dict)

    def run(self, active: list[ActiveTerm], *, is_training_step: bool) -> None:
        """Make the step: its total, 0-d, with its graph. Raises `UnforeseenRequestError`, with the state as before, where a term asks for more than it did."""
        state = RandomAndBufferState(self.model, self.inputs) if self.form.rewindable else None
        if state is not None:
            state.remember()
        batch = Batch(self.model, self.inputs.as_given(), self.target, self, is_training_step=is_training_step)
        try:
            if self.form.objective.base is not None:
                self.values["base"] = base_losses.value(self.form.objective.base, self.for_base(None), self.target)
            for item in active:
                self.values[item.name] = value_of_term(item, batch, lambda: self._made().sizes())
        except UnforeseenRequestError:
            if state is not None:
                state.rewind()
            raise
        total = weighted_sum(self.values, active, self.form.objective.base_weight)
        if may_be_looked_at(total) and not math.isfinite(total.item()):
            check_finite(self.values, self.inputs, self.target)
        self.total = total

    # what comes of it

    def loss(self) -> Tensor:
        """The total. Its graph is complete and may be differentiated again; not where a derivative of our own stands for torch's, which has one and no more."""
        assert self.total is not None
        return once_differentiable_loss(self.total) if self.form.exchanged and self._target.has_exchanged else self.total

    def backward(self, scaled: Scale | None) -> Tensor:
        """The backward pass to every leaf; not to the inputs, where that would cost something. Gives the total, detached."""
        assert self.total is not None
        total = scaled(self.total) if scaled else self.total
        own = [z for z in self.variables.values() if z.is_leaf]
        if not total.requires_grad:
            return self.total
        if sum(z.numel() for z in own) <= SMALL_INPUT and self._cost(total, own) <= SMALL_INPUT:
            torch.autograd.backward(total)
        elif leaves := [leaf for leaf in leaves_of([total]) if not any(leaf is z for z in own)]:
            torch.autograd.backward(total, inputs=leaves)
        return self.total.detach()

    def _cost(self, total: Tensor, own: list[Tensor]) -> int:
        """How much is computed for the inputs alone, such as through distances and their functions before the first weight; looked at once a form."""
        self.form.costs.extend(() if self.form.costs else [numbers_for_alone([total], own)])
        return self.form.costs[0]

    @property
    def parts(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.values.items()}

    @property
    def detached_output(self) -> Any:
        made = self._made()
        if self._is_output_asked:
            return made.output.detach()
        return made.detached() if made.is_seen_whole_by(self.form.objective.base) else None

    # what a batch asks for

    def output(self) -> Tensor:
        output = self._made().one()
        self._is_output_asked = True
        return output

    def size(self) -> int:
        return self._made().output.shape[0]

    def for_base(self, base: Any) -> Any:
        made, base = self._made(), base or self.form.objective.base
        return made.everything if made.is_seen_whole_by(base) else self.output()

    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> tuple[Tensor, ...]:
        keys = self._canonical(wrt)
        if at is not None or isinstance(of, heads.Inner):
            raise UnforeseenRequestError
        if (asked := (of, keys, False)) not in self._gradients and (not constant or (asked := (of, keys, True)) not in self._gradients):
            self._gradients[asked] = self._gradient(of, keys, create_graph=not constant)
        parts = self._gradients[asked]
        return tuple(part.detach() for part in parts) if constant else parts

    def variable(self, key: Key) -> Tensor:
        return self.inputs.variable(self._canonical(key)[0]).detach()

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        return self.inputs.replaced({canonical(key, self.inputs, self.model)[0]: value for key, value in values.items()}).as_given()

    def loss_of(self, output: Tensor | None, base: Any = None) -> Tensor:
        return base_losses.per_sample(base or self.form.objective.base, self.for_base(base) if output is None else output, self.target)

    def _unforeseen(self, *_asked: Any, **_settings: Any) -> NoReturn:
        """What needs another pass of the model."""
        raise UnforeseenRequestError

    loss_with = further_run = output_with = batch_at = gradient_at = output_and_variables = differentiable_pass = _unforeseen

    def scores_of(self, of: Of, output: Tensor, at: Place | None) -> Tensor:
        return Score(bound_head(of, self.form.objective.base), output, self.target)(output) if at is None else self._unforeseen()

    def _canonical(self, wrt: Wrt) -> tuple[Key, ...]:
        called = tuple(wrt) if isinstance(wrt, list) else wrt
        if (keys := self.form.keys.get(called)) is None:
            keys = canonical(wrt, self.inputs, self.model)
            if not set(keys) <= set(self.form.wrt):
                raise UnforeseenRequestError
            self.form.keys[called] = keys
        return keys

    def _made(self) -> Returned:
        if self._returned is None:
            self._returned = self._pass()
        return self._returned

    def _pass(self) -> Returned:
        handed: dict[Key, Tensor] = {}
        for key in self.form.wrt:
            z = self.inputs.variable(key)
            self.variables[key] = leaf = opened(z) if z.requires_grad else z.clone().requires_grad_()  # a model that writes on it does not reach the user's
            handed[key] = leaf.clone() if z.requires_grad else seen(leaf) if is_watched() else leaf
        inputs = self.inputs.replaced(handed)
        as_python = not compiler.is_loaded() or (self.form.is_torchs_own and not compiler.may_compile())
        with nullcontext() if as_python else uncompiled():
            returned = self._called(inputs)
        output: Tensor = representative(self.form.objective.pick, returned)
        check_output(output)
        return Returned(returned, output, self.form.objective.output is None)

    def _called(self, inputs: ModelInputs) -> Any:
        if not self.form.exchanged:
            return inputs.call(self.model)
        self._target = BackwardTarget()
        with SecondDerivatives(self._target):
            return inputs.call(self.model)

    def _gradient(self, of: Of, keys: tuple[Key, ...], *, create_graph: bool) -> tuple[Tensor, ...]:
        head = bound_head(of, self.form.objective.base)
        head, output = self._made().of(head, self.target)
        variables = [self.variables[key] for key in keys]
        if (total := head.total(output, self.target)) is not None:
            return self._row(total, variables, create_graph=create_graph)
        scores = Score(head, output, self.target)(output)
        batched = None if not scores.requires_grad else batched_rows(scores, variables, create_graph=create_graph)
        if batched is not None and all(part is not None for part in batched):
            return tuple(part.movedim(0, 1) for part in batched if part is not None)
        columns = [scores] if scores.dim() == 1 else list(scores.unbind(1))
        rows = [self._row(column.sum(), variables, create_graph=create_graph) for column in columns]
        return rows[0] if scores.dim() == 1 else tuple(torch.stack(parts, 1) for parts in zip(*rows, strict=True))

    def _row(self, total: Tensor, variables: list[Tensor], *, create_graph: bool) -> tuple[Tensor, ...]:
        if not total.requires_grad:  # a batch without a path from input to output, such as isolated atoms, of a model that is known to have one
            return tuple(torch.zeros_like(z, requires_grad=create_graph) for z in variables)
        given: dict[str, Any] = {"create_graph": create_graph, "retain_graph": True, "allow_unused": True}
        if self.form.exchanged:
            with self._target.input_gradient():
                found = torch.autograd.grad(total, variables, **given)
        else:
            found = torch.autograd.grad(total, variables, **given)
        return tuple(torch.zeros_like(z, requires_grad=create_graph) if part is None else part for part, z in zip(found, variables, strict=True))
