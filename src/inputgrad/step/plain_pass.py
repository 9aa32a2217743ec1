"""A pass of a plain step that is not the one at the batch's own inputs for the engine: at a place, or one that a term differentiates itself."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from inputgrad.derivatives import SecondDerivatives
from inputgrad.passes.changes import Change, opened, unchanged
from inputgrad.passes.forward_pass import ForwardPass, Run
from inputgrad.passes.kept import KeptNow, UnforeseenError
from inputgrad.passes.outputs import check_output, default_output, one_output, representative
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.traces import note_writing
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.places.base import Place
from inputgrad.step.plain_form import PlainForm
from inputgrad.step.seen_outputs import sizes_of
from inputgrad.torch_internals import compiler
from inputgrad.torch_internals.tracing import is_watched
from inputgrad.variables import Key, ModelInputs

_NOTHING = nullcontext()
_FIRST: tuple[Key, ...] = (0,)
"""The keys of a single input by itself."""


class PlainPass(ForwardPass):
    """The model run as by hand: live, with nothing put back before or after it."""

    def __init__(self, passes: "PlainPasses", inputs: ModelInputs, wrt: tuple[Key, ...], pick: Callable[[Any], Tensor], options: PassOptions) -> None:
        super().__init__(passes.model, inputs, wrt, pick, passes.replay, options)
        self._passes, self.proven, self._is_torchs_own = passes, passes.form.proven, passes.form.is_torchs_own
        self.slopes.are_shared = passes.form.may_share

    def own_derivatives(self) -> AbstractContextManager[None]:
        return _NOTHING  # put in place around the call of the model alone

    def run(self, changes: Mapping[Key, Change]) -> Run:
        args, kwargs, variables = self._handed(changes)
        with self._passes.running(self.inputs), _NOTHING if runs_as_written(is_torchs_own=self._is_torchs_own) else uncompiled():
            if self.phase is None or changes:
                returned = self.model(*args, **kwargs)
            else:
                with SecondDerivatives(self.phase, any_order=self.any_order):
                    returned = self.model(*args, **kwargs)
        check_output(output := representative(self._pick, returned))
        return Run(output, variables, returned)

    def _handed(self, changes: Mapping[Key, Change]) -> tuple[tuple[Any, ...], Mapping[str, Any], dict[Key, Tensor]]:
        """What the model is called with, and the variables in it."""
        as_it_is = self._is_torchs_own and not changes and not is_watched()  # else a model may write on what it is handed, or torch may not want a leaf
        if self.wrt == _FIRST and self.inputs.bare and not changes:  # as by what follows, at once
            z = opened(self.inputs.variable(0))
            return (z if as_it_is and z.is_leaf else z.clone(),), {}, {0: z}
        default = unchanged if changes else opened
        variables = {key: changes.get(key, default)(self.inputs.variable(key)) for key in self.wrt}
        handed = self.inputs.replaced({key: z if as_it_is and z.is_leaf else z.clone() for key, z in variables.items()})
        return handed.args, handed.kwargs, variables


def runs_as_written(*, is_torchs_own: bool) -> bool:
    """Whether a call of the model runs as Python by itself: none of it is compiled, and nothing compiles what is called now."""
    return (is_torchs_own or not compiler.has_compiled()) and not compiler.may_compile()


class PlainPasses:
    """The passes of one step, each made once for all that is asked at one place."""

    def __init__(self, form: PlainForm, model: nn.Module, outer: "PlainPasses | None" = None) -> None:
        """outer: those of the whole step, where these are of the samples at a place."""
        self.form, self.model, self._outer = form, model, outer
        self._made: dict[tuple[Place | None, Hashable], PlainPass] = {}
        self._has_begun = self.is_output_shared = False
        self.start: KeptNow | None = None
        """What there was before the first of several."""

    @cached_property
    def replay(self) -> RandomAndBufferState:
        """What every pass has, and none of a plain step puts back."""
        return RandomAndBufferState(self.model) if self._outer is None else self._outer.replay

    def running(self, inputs: ModelInputs) -> AbstractContextManager[None]:
        """Around each run of the model: the first one runs live, each later one starts from what that one started from and leaves no trace.

        Raises `UnforeseenError` at the second one where the first was thought to be the only one, and where the model has begun to change what it did not.
        """
        if self._outer is not None:
            return self._outer.running(inputs)
        if not self.form.are_several:
            self.begin_the_only_one()
            return _NOTHING
        if self.start is not None:
            return self.start.again(inputs)
        self.start = self.form.kept.now(inputs)
        return self.start.first()

    def begin_the_only_one(self) -> None:
        """In place of `running` in a step of one pass. Raises `UnforeseenError` at a second one."""
        if self._outer is not None:
            return self._outer.begin_the_only_one()
        if self._has_begun:
            raise UnforeseenError
        self._has_begun = True

    def find(self, at: Place | None, kind: Hashable, inputs: Callable[[], ModelInputs], keys: tuple[Key, ...], options: PassOptions) -> PlainPass:
        """The pass at a place. kind: None for the engine's, else the variables, which a term differentiates itself; inputs: drawn once."""
        known = self._made.get((at, kind))
        if known is None:
            pick = self.form.objective.pick
            pick = one_output if kind is not None and pick is default_output else pick
            known = self._made[at, kind] = PlainPass(self, inputs(), keys, pick, options)
        if not set(keys) <= set(known.wrt):
            raise UnforeseenError
        return known

    def at_values(self, inputs: ModelInputs, values: Mapping[Key, Tensor]) -> Any:
        """What the model returns where some of its inputs have other values: a pass of its own, which no term shares."""
        is_torchs_own = self.form.is_torchs_own
        as_they_are = is_torchs_own and not is_watched()  # else a model may write on what it is handed, or torch may not want a leaf
        handed = inputs.replaced(values if as_they_are else {key: z.clone() for key, z in values.items()})
        with self.running(inputs):
            if runs_as_written(is_torchs_own=is_torchs_own):
                return self.model(*handed.args, **handed.kwargs)
            with uncompiled():
                return self.model(*handed.args, **handed.kwargs)

    def close(self) -> list[Tensor]:
        """Let go of them: each knows these passes. Gives their variables."""
        variables = [z for forward in self._made.values() for z in (*forward.own_leaves, *(forward.values().variables.values() if forward.made else ()))]
        self._made.clear()
        return variables

    def sizes(self) -> Iterator[int]:
        """How many samples there may be at each of them, the latest first."""
        return sizes_of(reversed(self._made.values()))

    def look_at_shared(self) -> None:
        """At the end of a step: let later ones share the pass at the batch's own inputs that a term has differentiated itself, if there is one.

        Raises `UnforeseenError` where somebody has written on what is shared: one term would see what another one made of it.
        """
        form = self.form
        for (at, kind), forward in self._made.items() if form.may_share else ():
            if kind is None or not forward.made:
                continue
            if forward.slopes.were_written or forward.is_output_written:
                note_writing(self.model)
                is_shared = self.is_output_shared and at is None and forward.wrt == form.shared
                if forward.slopes.were_given or (forward.is_output_written and is_shared):
                    raise UnforeseenError
                form.may_share, form.shared = False, None
                return
            if at is None and form.shared is None and set(form.wrt) <= set(forward.wrt):
                form.shared = forward.wrt
