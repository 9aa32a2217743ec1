"""An ordinary step as one would write it by hand: its passes, their input gradients with their graph, the terms' formulas, a sum.

What else the library does for a step (checks, the state that further passes start from, cotangents of their own) is there for models, terms and engines
that need it. The first step of a form is made in full and tells whether it did; then each later one is made here, while nothing that decides has changed.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from inputgrad import base_losses
from inputgrad.batch import Batch
from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from inputgrad.devices import may_be_looked_at
from inputgrad.heads import Head, Of, Score
from inputgrad.passes.changes import opened, seen
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.outputs import check_output, representative
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.returned import Returned
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.places.base import Place, check_place
from inputgrad.step.active_terms import ActiveTerm, value_of_term
from inputgrad.step.bound_head import bound_head
from inputgrad.step.checks import check_finite
from inputgrad.step.objective import weighted_sum
from inputgrad.step.plain_form import PlainForm, UnforeseenRequestError
from inputgrad.step.plain_gradient import input_gradient
from inputgrad.step.plain_pass import PlainPass, PlainPasses, runs_as_written, state_before
from inputgrad.step.surrogate_gradient import once_differentiable_loss
from inputgrad.torch_internals.autograd import backward_from
from inputgrad.torch_internals.autograd_graph import leaves_of, numbers_for_alone
from inputgrad.torch_internals.tracing import is_watched
from inputgrad.variables import Key, ModelInputs, Wrt, canonical, is_module

SMALL_INPUT = 1 << 16
"""Numbers of an input, and of what is computed for it alone, up to which its gradient, which nobody asked for, is cheaper than to look for the leaves."""

_AS_IT_IS, _ANY_ORDER = PassOptions(), PassOptions(any_order=True)
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
        self._passes, self._own = PlainPasses(form, model), list[Tensor]()

    def run(self, active: list[ActiveTerm], *, is_training_step: bool) -> None:
        """Make the step: its total, 0-d, with its graph. Raises `UnforeseenRequestError`, with the state as before, where a term asks for more than it did."""
        state = state_before(self.form, self.model, self.inputs)
        self._batch = batch = Batch(self.model, self.inputs.as_given(), self.target, self, is_training_step=is_training_step)
        objective, values = self.form.objective, self.values
        try:
            if objective.base is not None:
                values["base"] = base_losses.value(objective.base, self.for_base(None), self.target)
            for item in active:
                values[item.name] = value_of_term(item, batch, self._sizes)
            if self.form.shared is None and self._returned is not None:
                self.form.shared = self._passes.differentiated()
            state = None
        finally:
            if state is not None:  # the step is made in full, or not at all
                state.rewind()
            batch.close()
            self._own += self._passes.close()
            del self._batch  # which knows this step
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
        own = [z for z in (*self.variables.values(), *self._own) if z.is_leaf]
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
        if (made := self._returned) is None:
            return None
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
        head, keys = self.form.head(of), self._canonical(wrt, at)
        if (parts := self._gradients.get((of, keys, at, True))) is None and (not constant or (parts := self._gradients.get((of, keys, at, False))) is None):
            parts = self._gradients[of, keys, at, not constant] = self._gradient(head, keys, at, create_graph=not constant)
        return tuple(part.detach() for part in parts) if constant else parts

    def variable(self, key: Key) -> Tensor:
        return self.inputs.variable(self._canonical(key, None, free=True)[0]).detach()

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        return self.inputs.with_values(values, self.model).as_given()

    def loss_of(self, output: Tensor | None, base: Any = None) -> Tensor:
        return base_losses.per_sample(base or self.form.objective.base, self.for_base(base) if output is None else output, self.target)

    def _unforeseen(self, *_asked: Any, **_settings: Any) -> NoReturn:
        """What needs another pass of the model."""
        raise UnforeseenRequestError

    loss_with = further_run = output_with = batch_at = gradient_at = _unforeseen

    def output_and_variables(self, wrt: Wrt, at: Place | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        forward, keys = self.differentiable_pass(wrt, at)
        return (here := forward.primal()).output, tuple(here.variables[key] for key in keys)

    def differentiable_pass(self, wrt: Wrt, at: Place | None) -> tuple[ForwardPass, tuple[Key, ...]]:
        keys = self._canonical(wrt, at, free=True)
        return self._pass_at(at, keys, keys, _ANY_ORDER if self.form.exchanged_at_any_order else _AS_IT_IS), keys

    def scores_of(self, of: Of, output: Tensor, at: Place | None) -> Tensor:
        return Score(bound_head(of, self.form.objective.base), output, self._target_at(at))(output)

    def _target_at(self, at: Place | None) -> Any:
        return self.target if at is None else at.target_at(self._batch)

    def _pass_at(self, at: Place | None, kind: Hashable, keys: tuple[Key, ...], options: PassOptions) -> PlainPass:
        inputs = self.inputs
        return self._passes.find(at, kind, lambda: inputs if at is None else ModelInputs.of(check_place(at).inputs(self._batch)), keys, options)

    def _canonical(self, wrt: Wrt, at: Place | None, *, free: bool = False) -> tuple[Key, ...]:
        """free: whether a pass of its own is made for these variables."""
        called = tuple(wrt) if isinstance(wrt, list) else wrt
        if (keys := self.form.keys.get(called)) is None:
            keys = self.form.keys[called] = canonical(wrt, self.inputs, self.model)
        if at is None and not free and not set(keys) <= set(self.form.wrt):
            raise UnforeseenRequestError
        return keys if not any(map(is_module, keys)) else self._unforeseen()

    def _sizes(self) -> list[int]:
        here = [*(() if self._returned is None else self._returned.sizes()), *self._passes.sizes()]
        return here or self._made().sizes()

    def _made(self) -> Returned:
        if self._returned is None:
            self._returned = self._pass()
        return self._returned

    def _pass(self) -> Returned:
        form, inputs = self.form, self.inputs
        if form.shared is not None and not form.wrt:
            forward, _ = self.differentiable_pass(form.shared, None)
            return self._as_returned(forward.primal().returned)
        self._passes.begin(inputs)
        if inputs.bare and form.wrt:
            args, kwargs = (self._opened(0, inputs.args[0]),), inputs.kwargs
        else:
            inputs = inputs.replaced({key: self._opened(key, inputs.variable(key)) for key in form.wrt})
            args, kwargs = inputs.args, inputs.kwargs
        if runs_as_written(is_torchs_own=form.is_torchs_own):
            returned = self._called(args, kwargs)
        else:
            with uncompiled():
                returned = self._called(args, kwargs)
        self._passes.end()
        return self._as_returned(returned)

    def _as_returned(self, returned: Any) -> Returned:
        output: Tensor = representative(self.form.objective.pick, returned)
        check_output(output)
        return Returned(returned, output, self.form.objective.output is None)

    def _opened(self, key: Key, z: Tensor) -> Tensor:
        """The variable in the place of an input, as the model is handed it."""
        if z.requires_grad:
            self.variables[key] = leaf = opened(z)
            return leaf.clone()
        own = z if self.form.is_torchs_own else z.clone()  # a model that writes on it does not reach the user's
        self.variables[key] = leaf = own.detach().requires_grad_()
        return seen(leaf) if is_watched() else leaf

    def _called(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self.form.exchanged or not self.form.wrt:
            return self.model(*args, **kwargs)
        with SecondDerivatives(self._target):
            return self.model(*args, **kwargs)

    def _gradient(self, head: Head, keys: tuple[Key, ...], at: Place | None, *, create_graph: bool) -> tuple[Tensor, ...]:
        if at is None:
            returned, known, target = self._returned or self._made(), self.variables, self.target
        else:
            (returned, known), target = self._there(at, keys), self._target_at(at)
        return input_gradient(self.form, self._target, head, returned, target, [known[key] for key in keys], create_graph=create_graph)

    def _there(self, at: Place, keys: tuple[Key, ...]) -> tuple[Returned, dict[Key, Tensor]]:
        """What the model returns at a place, and the variables there."""
        forward = self._pass_at(at, None, keys, PassOptions(phase=self._target) if self.form.exchanged else _AS_IT_IS)
        run = forward.primal()
        return Returned(run.returned, run.output, forward.takes_default_output), dict(run.variables)
