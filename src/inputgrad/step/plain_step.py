"""An ordinary step as one would write it by hand: one pass, its input gradients with their graph, the terms' formulas, a sum.

What else the library does for a step (checks, the state that further passes start from, cotangents of their own) is there for models, terms and engines
that need it. The first step of a form is made in full and tells whether it did; then each later one is made here, while nothing that decides has changed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from inputgrad import base_losses
from inputgrad.batch import Batch
from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from inputgrad.devices import may_be_looked_at
from inputgrad.heads import Head, Of, Score
from inputgrad.passes.batched_rows import batched_rows
from inputgrad.passes.changes import opened, seen
from inputgrad.passes.outputs import check_output, representative
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.returned import Returned
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.places.base import Place
from inputgrad.step.active_terms import ActiveTerm, value_of_term
from inputgrad.step.bound_head import bound_head
from inputgrad.step.checks import check_finite
from inputgrad.step.objective import weighted_sum
from inputgrad.step.plain_form import PlainForm, UnforeseenRequestError
from inputgrad.step.surrogate_gradient import once_differentiable_loss
from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.autograd import backward_from, gradient_from
from inputgrad.torch_internals.autograd_graph import leaves_of, numbers_for_alone
from inputgrad.torch_internals.tracing import is_watched
from inputgrad.variables import Key, ModelInputs, Wrt, canonical

SMALL_INPUT = 1 << 16
"""Numbers of an input, and of what is computed for it alone, up to which its gradient, which nobody asked for, is cheaper than to look for the leaves."""

Scale = Callable[[Tensor], Tensor]
"""What a gradient scaler does to a loss."""


class PlainStep:
    """One step: what a batch is asked, and what came of it."""

    def __init__(self, form: PlainForm, model: nn.Module, inputs: ModelInputs, target: Any) -> None:
        self.form, self.model, self.inputs, self.target = form, model, inputs, target
        self.variables: dict[Key, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        self.total: Tensor | None = None
        self._target = BackwardTarget()
        self._returned: Returned | None = None
        self._is_output_asked = False
        self._gradients: dict[Any, tuple[Tensor, ...]] = {}

    def run(self, active: list[ActiveTerm], *, is_training_step: bool) -> None:
        """Make the step: its total, 0-d, with its graph. Raises `UnforeseenRequestError`, with the state as before, where a term asks for more than it did."""
        state = RandomAndBufferState(self.model, self.inputs) if self.form.rewindable else None
        if state is not None:
            state.remember()
        batch = Batch(self.model, self.inputs.as_given(), self.target, self, is_training_step=is_training_step)
        objective, values = self.form.objective, self.values
        try:
            if objective.base is not None:
                values["base"] = base_losses.value(objective.base, self.for_base(None), self.target)
            for item in active:
                values[item.name] = value_of_term(item, batch, self._sizes)
        except UnforeseenRequestError:
            if state is not None:
                state.rewind()
            raise
        self.total = total = weighted_sum(values, active, objective.base_weight)
        if may_be_looked_at(total) and not math.isfinite(total.item()):
            check_finite(values, self.inputs, self.target)

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
            backward_from(total, self.form.ones(total))
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
        output = (self._returned or self._made()).one()
        self._is_output_asked = True
        return output

    def size(self) -> int:
        return self._made().output.shape[0]

    def for_base(self, base: Any) -> Any:
        made = self._returned or self._made()
        if made.are_several and made.is_seen_whole_by(base or self.form.objective.base):
            return made.everything
        return self.output()

    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> tuple[Tensor, ...]:
        if at is not None:
            raise UnforeseenRequestError
        head, keys = self.form.head(of), self._canonical(wrt)
        if (parts := self._gradients.get((of, keys, True))) is None and (not constant or (parts := self._gradients.get((of, keys, False))) is None):
            parts = self._gradients[of, keys, not constant] = self._gradient(head, keys, create_graph=not constant)
        return tuple(part.detach() for part in parts) if constant else parts

    def variable(self, key: Key) -> Tensor:
        return self.inputs.variable(self._canonical(key)[0]).detach()

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        return self.inputs.with_values(values, self.model).as_given()

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

    def _sizes(self) -> list[int]:
        return (self._returned or self._made()).sizes()

    def _made(self) -> Returned:
        if self._returned is None:
            self._returned = self._pass()
        return self._returned

    def _pass(self) -> Returned:
        form, inputs = self.form, self.inputs
        if inputs.bare and form.wrt:
            args, kwargs = (self._opened(0, inputs.args[0]),), inputs.kwargs
        else:
            inputs = inputs.replaced({key: self._opened(key, inputs.variable(key)) for key in form.wrt})
            args, kwargs = inputs.args, inputs.kwargs
        if (form.is_torchs_own or not compiler.has_compiled()) and not compiler.may_compile():
            returned = self._called(args, kwargs)
        else:
            with uncompiled():
                returned = self._called(args, kwargs)
        output: Tensor = representative(form.objective.pick, returned)
        check_output(output)
        return Returned(returned, output, form.objective.output is None)

    def _opened(self, key: Key, z: Tensor) -> Tensor:
        """The variable in the place of an input, as the model is handed it."""
        if z.requires_grad:
            self.variables[key] = leaf = opened(z)
            return leaf.clone()
        own = z if self.form.is_torchs_own else z.clone()  # a model that writes on it does not reach the user's
        self.variables[key] = leaf = own.detach().requires_grad_()
        return seen(leaf) if is_watched() else leaf

    def _called(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self.form.exchanged:
            return self.model(*args, **kwargs)
        with SecondDerivatives(self._target):
            return self.model(*args, **kwargs)

    def _gradient(self, head: Head, keys: tuple[Key, ...], *, create_graph: bool) -> tuple[Tensor, ...]:
        head, output = (self._returned or self._made()).of(head, self.target)
        variables = [self.variables[key] for key in keys]
        if head.adds_all:
            return self._row(output, variables, create_graph=create_graph)
        scores = Score(head, output, self.target)(output)
        batched = None if not scores.requires_grad else batched_rows(scores, variables, create_graph=create_graph)
        if batched is not None and all(part is not None for part in batched):
            return tuple(part.movedim(0, 1) for part in batched if part is not None)
        columns = [scores] if scores.dim() == 1 else list(scores.unbind(1))
        rows = [self._row(column, variables, create_graph=create_graph) for column in columns]
        return rows[0] if scores.dim() == 1 else tuple(torch.stack(parts, 1) for parts in zip(*rows, strict=True))

    def _row(self, scores: Tensor, variables: list[Tensor], *, create_graph: bool) -> tuple[Tensor, ...]:
        """∂ Σ scores / ∂z for each variable z."""
        if not scores.requires_grad:  # a batch without a path from input to output, such as isolated atoms, of a model that is known to have one
            return tuple(torch.zeros_like(z, requires_grad=create_graph) for z in variables)
        self._target.only_input = True  # on one process: there is no more to `BackwardTarget.input_gradient`
        try:
            found = gradient_from(scores, self.form.ones(scores), variables, create_graph=create_graph)
        finally:
            self._target.only_input = False
        if len(found) == 1 and (only := found[0]) is not None:
            return (only,)
        return tuple([torch.zeros_like(z, requires_grad=create_graph) if part is None else part for part, z in zip(found, variables, strict=True)])
