"""One batch as terms see it: the passes of the model that were made for it, and the input gradients that its terms share.

Engines and terms meet here without seeing each other: terms ask a `Batch`, the evaluation asks the engine. The way back to the parameters is `pull_back`.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from torch import Tensor, nn

from inputgrad import base_losses, heads
from inputgrad.batch import Batch
from inputgrad.engines.base import GradientRequest, Linearization, constant_gradient
from inputgrad.heads import Of, Score
from inputgrad.passes.changes import displacement, seen, shaped
from inputgrad.passes.displaced import FrozenBranches
from inputgrad.passes.forward_pass import ForwardPass, Run
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.output_views import OfLosses, scored
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.places.base import Place, check_place
from inputgrad.step.bound_head import bound_head
from inputgrad.step.by_hand import FurtherRuns
from inputgrad.step.paused_source import PausedSource
from inputgrad.step.seen_outputs import SeenOutputs, rows_apart, sizes_of
from inputgrad.step.setting import BaseLoss, Setting
from inputgrad.step.shared_base_loss import SharedBaseLoss, as_multiple
from inputgrad.variables import Key, ModelInputs, Wrt, canonical, is_module, sampled

Leaves = tuple[Tensor, ...]


@dataclass(frozen=True)
class SharedGradient:
    """An input gradient as terms see it, detached leaves, and how it goes on to the parameters."""

    leaves: Leaves
    linearization: Linearization


class Evaluation:
    """The answers to what the terms of one call of the loss ask about one batch."""

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        target: Any,
        setting: Setting,
        *,
        wrt: tuple[Key, ...] = (),
        state: RandomAndBufferState | None = None,
    ) -> None:
        self.model, self.inputs, self.target, self.setting = model, inputs, target, setting
        self.state = state or RandomAndBufferState(model, inputs)
        self.primal_pass = ForwardPass(model, inputs, wrt, setting.pick, self.state, self._options() if wrt or setting.frozen else None)
        self.shared_base: SharedBaseLoss | None = None
        self._passes: dict[tuple[Place | None, Any], ForwardPass] = {(None, None): self.primal_pass}
        self._gradients: dict[Any, SharedGradient] = {}
        self.outputs = SeenOutputs(self.primal_pass)
        self._base_value: Tensor | None = None
        self.known: dict[Hashable, Any] = {}
        self.subsets: dict[float | Place, Evaluation] = {}
        self.further, source = FurtherRuns(), PausedSource(self, setting.frozen) if setting.frozen else self
        self.batch = Batch(model, inputs.as_given(), target, source, is_training_step=setting.is_training_step)

    # what a batch asks for

    def output(self) -> Tensor:
        return self.outputs.output()

    def size(self) -> int:
        return self.primal_pass.values().output.shape[0]

    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> Leaves:
        asked = (of, self._canonical(wrt), at)
        if constant and self.setting.frozen:
            return tuple(self.setting.frozen.constants(self._shared(asked, constant=True)))
        return self._shared(asked, constant=constant or not self.setting.differentiable)

    def _shared(self, asked: tuple[Of, tuple[Key, ...], Place | None], *, constant: bool) -> Leaves:
        if (*asked, False) in self._gradients:  # one that carries a graph may be used as a constant too
            return tuple(leaf.detach().clone() if constant else seen(leaf) for leaf in self._gradients[*asked, False].leaves)  # a term may write on it
        if (*asked, constant) not in self._gradients:
            self._gradients[*asked, constant] = self._linearize(*asked, constant)
        return tuple(map(seen, self._gradients[*asked, constant].leaves))

    def _linearize(self, of: Of, keys: tuple[Key, ...], at: Place | None, constant: bool) -> SharedGradient:
        forward = self._pass(keys, at, of.module if isinstance(of, heads.Inner) else None)
        request = GradientRequest(*self._scored(of, forward, at), keys, immediate=self.setting.immediate, lean=self.setting.lean)
        linearization = constant_gradient(request) if constant else self._by_engine(request, of)
        wanted = self.setting.differentiable and not constant
        return SharedGradient(tuple(part.detach().requires_grad_(wanted) for part in linearization.gradient), linearization)

    def _by_engine(self, request: GradientRequest, of: Of) -> Linearization:
        """The gradient by the engine; that of the samples' own losses together with the base loss, once a call, where the engine can."""
        engine, setting = self.setting.engine, self.setting
        offered = engine.traits.takes_base_loss and of == "loss" and request.forward is self.primal_pass and self.shared_base is None
        leaf = self.outputs.leaf if offered and self._base_value is not None else None
        multiple = as_multiple(self.model, self._base_value, request.score, self.output(), leaf) if leaf is not None and self._base_value is not None else None
        if multiple is None or self._base_value is None:
            return engine.linearize(request)
        request.forward.may_free_graph = setting.immediate and setting.single_term and not self.inputs.has_graph
        linearization = engine.linearize(replace(request, base_loss_offered=True))
        request.forward.may_free_graph = False
        if linearization.takes_base_loss:
            self.shared_base = SharedBaseLoss(linearization, multiple, self._base_value)
        return linearization

    def gradient_at(self, value: Tensor, of: Of, key: Key) -> Tensor:
        leaf = shaped(key := self._canonical(key)[0], value, self.variable(key)).detach().requires_grad_()
        forward = self._further_pass((key,)).at({key: leaf})
        forward.may_free_graph = True
        (gradient,) = input_gradient(*self._scored(of, forward), (key,), create_graph=False)
        self.further.note(forward)
        return self._constant(gradient.detach())

    def variable(self, key: Key) -> Tensor:
        if is_module(key := self._canonical(key)[0]):
            return self._constant(self._pass((key,), None).values().variables[key].detach())
        return self.inputs.variable(key).detach()  # known without a pass

    def output_and_variables(self, wrt: Wrt, at: Place | None) -> tuple[Tensor, Leaves]:
        return (here := self._pass(keys := self._canonical(wrt), at, plain=True).primal()).output, tuple(here.variables[key] for key in keys)

    def differentiable_pass(self, wrt: Wrt, at: Place | None) -> tuple[ForwardPass, tuple[Key, ...]]:
        return self._pass(keys := self._canonical(wrt), at, plain=True), keys

    def output_with(self, values: Mapping[Key, Tensor]) -> Tensor:
        return self.further_run(values).output

    def further_run(self, values: Mapping[Key, Tensor]) -> Run:
        changes = {self._canonical(key)[0]: displacement(key, z, self.variable(key), frozen=bool(self.setting.frozen)) for key, z in values.items()}
        run = (forward := self._further_pass(tuple(changes))).run(changes)
        self.further.note(forward)
        return run

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        return self.inputs.with_values(values, self.model).as_given()

    def loss_of(self, output: Tensor | None, base: BaseLoss | None = None) -> Tensor:
        seen = self.batch.source.for_base(base) if output is None else output
        return base_losses.per_sample(base or self.setting.base, seen, self.target)

    def for_base(self, base: BaseLoss | None) -> Any:
        return self.outputs.for_base(base or self.setting.base)

    def loss_with(self, values: Mapping[Key, Tensor], base: BaseLoss | None = None) -> Tensor:
        return self.outputs.per_sample(base or self.setting.base, self.batch.source.further_run(values), self.target)

    def scores_of(self, of: Of, output: Tensor, at: Place | None) -> Tensor:
        return Score(bound_head(of, self.setting.base), output, self.target if at is None else at.target_at(self.batch))(output)

    def sizes(self) -> list[int]:
        """How many samples there are: at the batch's own inputs, and at each place where a gradient was taken."""
        return [*sizes_of(self._passes.values()), *chain(*(part.sizes() for key, part in self.subsets.items() if isinstance(key, Place)))]

    def rows_apart(self) -> str | None:
        return rows_apart(self._passes.values())

    def base_value(self) -> Tensor:
        """The base loss of the batch, 0-d."""
        assert self.setting.base is not None
        self._base_value = base_losses.value(self.setting.base, self.for_base(None), self.target)
        return self._base_value

    def subset(self, fraction: float) -> "Evaluation":
        """The evaluation of a random share of the batch, drawn once a call; itself for the whole."""
        if fraction == 1:
            return self
        if fraction not in self.subsets:
            self.subsets[fraction] = self._of(*sampled(self.inputs, self.target, fraction))
        return self.subsets[fraction]

    def batch_at(self, place: Place) -> Batch:
        if place not in self.subsets:
            self.subsets[place] = self._of(ModelInputs.of(check_place(place).inputs(self.batch)), place.target_at(self.batch))
        return self.subsets[place].batch

    def _of(self, inputs: ModelInputs, target: Any) -> "Evaluation":
        return Evaluation(self.model, inputs, target, replace(self.setting, is_training_step=False, immediate=False, single_term=False), state=self.state)

    # what the way back asks for

    def with_subsets(self) -> tuple["Evaluation", ...]:
        return (self, *(part for subset in self.subsets.values() for part in subset.with_subsets()))

    def trained_gradients(self) -> list[SharedGradient]:
        """The input gradients that lead on to the parameters."""
        return [group for group in self._gradients.values() if not group.linearization.constant]

    def own_leaves(self) -> set[int]:
        """The leaves that the library made itself, by identity: no gradient of theirs is wanted."""
        own = {id(leaf) for group in self._gradients.values() for leaf in group.leaves} | {id(leaf) for leaf in self.outputs.leaves()}
        for forward in self._passes.values():
            own |= {id(leaf) for leaf in (*forward.own_leaves, *(forward.values().variables.values() if forward.made else ()))}
        return own

    def differentiated(self) -> tuple[Key, ...]:
        """The variables of the pass at the batch's own inputs, where a term has asked for a gradient of it; none otherwise."""
        return self.primal_pass.wrt if any(at is None for _, _, at, _ in self._gradients) else ()

    def passes(self) -> list[ForwardPass]:
        """The passes that were made."""
        return [forward for forward in self._passes.values() if forward.made or forward is not self.primal_pass]

    def close(self) -> None:
        """Let go of every pass, so that nothing waits for the garbage collector; what is still needed hangs on the loss."""
        for subset in self.subsets.values():
            subset.close()
        for held in (self.subsets, self._passes, self._gradients):
            held.clear()
        self.batch.close()
        del self.batch, self.primal_pass, self.outputs

    def _canonical(self, wrt: Wrt) -> tuple[Key, ...]:
        return canonical(wrt, self.inputs, self.model)

    def _pass(self, keys: tuple[Key, ...], at: Place | None, output_module: str | None = None, *, plain: bool = False) -> ForwardPass:
        known = self._passes.get((at, kind := keys if plain else output_module))
        if known is not None and set(keys) <= set(known.wrt):
            return known
        inputs = known.inputs if known is not None else self.inputs if at is None else ModelInputs.of(check_place(at).inputs(self.batch))
        self.further.are_as_by_hand &= known is None or not known.made  # else replaced by one with more variables
        wider = tuple(dict.fromkeys((*(known.wrt if known else ()), *keys)))
        pick = self.setting.pick_one if plain else self.setting.pick
        self._passes[at, kind] = made = ForwardPass(self.model, inputs, wider, pick, self.state, self._options(plain=plain), output_module)
        return made

    def _options(self, *, plain: bool = False) -> PassOptions:
        if self.setting.frozen is not None:
            return PassOptions(tape=self.setting.frozen.tape(), any_order=plain, spent_at_once=not plain, outside=self.setting.frozen.paused)
        return PassOptions(whole=True, any_order=True) if plain else self.setting.engine.pass_options(self.model)

    def _further_pass(self, wrt: tuple[Key, ...]) -> ForwardPass:
        """A pass of its own, which no term shares."""
        return ForwardPass(self.model, self.inputs, wrt, self.setting.pick, self.state, self._options() if self.setting.frozen else None)

    def _constant(self, value: Tensor) -> Tensor:
        """A constant for the parameter gradient: as it was recorded, where the evaluation is frozen."""
        return value if self.setting.frozen is None else self.setting.frozen.constants([value])[0]

    def _scored(self, of: Of, forward: ForwardPass, at: Place | None = None) -> tuple[ForwardPass, Score]:
        """The pass as the head sees it, and the head's scores of its output."""
        tape = self.setting.frozen.tape() if self.setting.frozen else None
        forward, score = scored(forward, bound_head(of, self.setting.base), self.target if at is None else at.target_at(self.batch), tape=tape)
        return forward, score if tape is None or isinstance(score.head, OfLosses) else FrozenBranches(score, tape)
