"""What a batch is asked in a plain step, answered as one would write it by hand: by passes that keep their graph, and torch's derivatives of it."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from inputgrad import base_losses
from inputgrad.batch import Batch
from inputgrad.derivatives import BackwardTarget, SecondDerivatives
from inputgrad.heads import Head, Of, Score
from inputgrad.passes.changes import displacement, opened, seen, shaped
from inputgrad.passes.forward_pass import ForwardPass, Run
from inputgrad.passes.kept import UnforeseenError
from inputgrad.passes.outputs import check_output, representative
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.returned import Returned
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.places.base import Place, check_place
from inputgrad.step.bound_head import bound_head
from inputgrad.step.plain_form import PlainForm
from inputgrad.step.plain_gradient import constant_gradient, input_gradient
from inputgrad.step.plain_pass import PlainPass, PlainPasses, runs_as_written
from inputgrad.torch_internals.tracing import is_watched
from inputgrad.variables import Key, ModelInputs, Wrt, canonical, is_module

_AS_IT_IS, _ANY_ORDER = PassOptions(), PassOptions(any_order=True)


class PlainSource:
    """Where the batch of a plain step gets what it is asked for."""

    def __init__(
        self, form: PlainForm, model: nn.Module, inputs: ModelInputs, target: Any, *, is_training_step: bool, outer: "PlainSource | None" = None
    ) -> None:
        """outer: that of the step, where this one is of the samples at a place."""
        self.form, self.model, self.inputs, self.target = form, model, inputs, target
        self.batch = Batch(model, inputs.as_given(), target, self, is_training_step=is_training_step)
        self.phase: BackwardTarget = BackwardTarget() if outer is None else outer.phase
        self.passes: PlainPasses = PlainPasses(form, model, None if outer is None else outer.passes)
        self.returned: Returned | None = None
        self.is_output_asked = False
        self.known = form.known
        self.variables: dict[Key, Tensor] = {}
        self._gradients: dict[Any, tuple[Tensor, ...]] = {}
        self._at_places: dict[Place, PlainSource] = {}

    def close(self) -> list[Tensor]:
        """Let go of the passes and of the batch, which know this source. Gives the variables of the passes."""
        variables = self.passes.close()
        for there in self._at_places.values():
            variables += there.close()
        self._at_places.clear()
        self.batch.close()
        del self.batch
        return variables

    # of the pass at the batch's own inputs

    def output(self) -> Tensor:
        output = (self.returned or self._made()).one()
        self.is_output_asked = True
        return output

    def size(self) -> int:
        return self._made().output.shape[0]

    def for_base(self, base: Any) -> Any:
        made = self.returned or self._made()
        if made.are_several and made.is_seen_whole_by(base or self.form.objective.base):
            return made.everything
        return self.output()

    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> tuple[Tensor, ...]:
        head, keys = self.form.head(of), self._canonical(wrt)
        if (parts := self._gradients.get((of, keys, at, True))) is not None:
            return tuple(part.detach().clone() for part in parts) if constant else parts  # a term may write on its constant
        if not constant or (parts := self._gradients.get((of, keys, at, False))) is None:
            parts = self._gradients[of, keys, at, not constant] = self._gradient(head, keys, at, create_graph=not constant)
        return tuple(part.detach() for part in parts) if constant else parts

    def variable(self, key: Key) -> Tensor:
        return self.inputs.variable(self._canonical(key)[0]).detach()

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        return self.inputs.with_values(values, self.model).as_given()

    def loss_of(self, output: Tensor | None, base: Any = None) -> Tensor:
        return base_losses.per_sample(base or self.form.objective.base, self.for_base(base) if output is None else output, self.target)

    def output_and_variables(self, wrt: Wrt, at: Place | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        forward, keys = self.differentiable_pass(wrt, at)
        return (here := forward.primal()).output, tuple(here.variables[key] for key in keys)

    def differentiable_pass(self, wrt: Wrt, at: Place | None) -> tuple[ForwardPass, tuple[Key, ...]]:
        keys = self._canonical(wrt)
        return self._pass_at(at, keys, keys, _ANY_ORDER if self.form.exchanged_at_any_order else _AS_IT_IS), keys

    def scores_of(self, of: Of, output: Tensor, at: Place | None) -> Tensor:
        return Score(bound_head(of, self.form.objective.base), output, self._target_at(at))(output)

    # at other values of the inputs, or at other inputs

    def output_with(self, values: Mapping[Key, Tensor]) -> Tensor:
        return self._at_values(values).output

    def further_run(self, values: Mapping[Key, Tensor]) -> Run:
        there = self._at_values(values)
        return Run(there.output, {}, there.everything)

    def loss_with(self, values: Mapping[Key, Tensor], base: Any = None) -> Tensor:
        there, base = self._at_values(values), base or self.form.objective.base
        return base_losses.per_sample(base, there.everything if there.is_seen_whole_by(base) else there.one(), self.target)

    def gradient_at(self, value: Tensor, of: Of, key: Key) -> Tensor:
        head, (key,) = self.form.head(of), self._canonical(key)
        leaf = shaped(key, value, self.inputs.variable(key)).detach().requires_grad_()
        there = self._as_returned(self.passes.at_values(self.inputs, {key: leaf}))
        return constant_gradient(self.form, head, there, self.target, leaf)

    def _at_values(self, values: Mapping[Key, Tensor]) -> Returned:
        """What the model returns where these constants, or values with a graph of their own, take the place of inputs."""
        displaced = {}
        for given, value in values.items():
            (key,) = self._canonical(given)
            z = self.inputs.variable(key)
            displaced[key] = displacement(key, value, z.detach())(z)
        return self._as_returned(self.passes.at_values(self.inputs, displaced))

    def batch_at(self, place: Place) -> Batch:
        if (there := self._at_places.get(place)) is None:
            form = replace(self.form, wrt=(), shared=None, may_share=False, keys={}, known={})
            inputs = ModelInputs.of(check_place(place).inputs(self.batch))
            there = self._at_places[place] = PlainSource(form, self.model, inputs, place.target_at(self.batch), is_training_step=False, outer=self)
        return there.batch

    # how it is made

    def _target_at(self, at: Place | None) -> Any:
        return self.target if at is None else at.target_at(self.batch)

    def _pass_at(self, at: Place | None, kind: Hashable, keys: tuple[Key, ...], options: PassOptions) -> PlainPass:
        inputs = self.inputs
        return self.passes.find(at, kind, lambda: inputs if at is None else ModelInputs.of(check_place(at).inputs(self.batch)), keys, options)

    def _canonical(self, wrt: Wrt) -> tuple[Key, ...]:
        called = tuple(wrt) if isinstance(wrt, list) else wrt
        if (keys := self.form.keys.get(called)) is None:
            keys = self.form.keys[called] = canonical(wrt, self.inputs, self.model)
        if any(map(is_module, keys)):
            raise UnforeseenError
        return keys

    def sizes(self) -> Iterator[int]:
        """How many samples there may be, as far as it is known without another pass."""
        yield from self.passes.sizes()
        if self.returned is not None:
            yield from self.returned.sizes()
        else:
            yield from (self.inputs.variable(key).shape[0] for key in self.form.wrt)
        for there in self._at_places.values():
            yield from there.sizes()

    def _made(self) -> Returned:
        if self.returned is None:
            self.returned = self._pass()
        return self.returned

    def _pass(self) -> Returned:
        form, inputs = self.form, self.inputs
        if form.shared is not None:
            self.passes.is_output_shared = True
            run = self.differentiable_pass(form.shared, None)[0].primal()
            self.variables.update(run.variables)
            return self._as_returned(run.returned)
        if not form.wrt and not form.is_torchs_own:  # a model that writes on its inputs does not reach the user's
            inputs = inputs.replaced({key: z.clone() for key, z in inputs.tensors()})
        if inputs.bare and form.wrt:
            args, kwargs = (self._opened(0, inputs.args[0]),), inputs.kwargs
        else:
            inputs = inputs.replaced({key: self._opened(key, inputs.variable(key)) for key in form.wrt})
            args, kwargs = inputs.args, inputs.kwargs
        if form.are_several:
            with self.passes.running(inputs):
                return self._as_returned(self._called(args, kwargs))
        self.passes.begin_the_only_one()
        return self._as_returned(self._called(args, kwargs))

    def _as_returned(self, returned: Any) -> Returned:
        check_output(output := representative(self.form.objective.pick, returned))
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
        if not runs_as_written(is_torchs_own=self.form.is_torchs_own):
            with uncompiled():
                return self._as_written(args, kwargs)
        return self._as_written(args, kwargs)

    def _as_written(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not self.form.exchanged_at_inputs:
            return self.model(*args, **kwargs)
        with SecondDerivatives(self.phase, any_order=not self.form.wrt):
            return self.model(*args, **kwargs)

    def _gradient(self, head: Head, keys: tuple[Key, ...], at: Place | None, *, create_graph: bool) -> tuple[Tensor, ...]:
        if at is None and set(keys) <= set(self.form.wrt):
            returned, known, target = self.returned or self._made(), self.variables, self.target
            if head.adds_all and self.form.shared is not None and create_graph:
                return self._slopes(head, returned, keys)
        else:
            (returned, known), target = self._there(at, keys), self._target_at(at)
        return input_gradient(self.form, self.phase, head, returned, target, [known[key] for key in keys], create_graph=create_graph)

    def _slopes(self, head: Head, returned: Returned, keys: tuple[Key, ...]) -> tuple[Tensor, ...]:
        """The gradient of all outputs, taken once where a term differentiates the same pass itself."""
        assert self.form.shared is not None
        slopes = self.differentiable_pass(self.form.shared, None)[0].slopes
        if (known := slopes.of(keys)) is not None:
            return known
        variables = [self.variables[key] for key in keys]
        return slopes.keep(keys, input_gradient(self.form, self.phase, head, returned, self.target, variables, create_graph=True))

    def _there(self, at: Place | None, keys: tuple[Key, ...]) -> tuple[Returned, dict[Key, Tensor]]:
        """What the model returns in a pass for these variables, and they: at a place, or beside the pass that was foreseen."""
        forward = self._pass_at(at, None, keys, PassOptions(phase=self.phase) if self.form.exchanged else _AS_IT_IS)
        run = forward.primal()
        return Returned(run.returned, run.output, forward.takes_default_output), dict(run.variables)
